// A sentence over the composer that goes away by itself, at most with one thing to do.
import { useEffect } from "preact/hooks";
import { IconButton } from "./icons.jsx";
import { notice } from "./state.js";

const SHOWN_MS = 12_000;

export function Notice() {
    const { text, action } = notice.value ?? {};
    const close = () => (notice.value = null);
    const act = () => {
        close();
        action.run();
    };
    useEffect(() => {
        const timer = setTimeout(close, SHOWN_MS);
        return () => clearTimeout(timer);
    }, [notice.value]);
    return (
        <div class="notice" role="alert" hidden={!text}>
            <span>{text}</span>
            {action && (
                <button type="button" onClick={act}>
                    {action.label}
                </button>
            )}
            {text && <IconButton icon="close" label="Dismiss" onClick={close} />}
        </div>
    );
}
