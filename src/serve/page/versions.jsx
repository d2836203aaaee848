// Arrows between the versions of a message.
import { IconButton } from "./icons.jsx";
import * as state from "./state.js";

export function Versions({ id, versions }) {
    const at = versions.indexOf(id);
    const running = state.isRunning.value;
    const show = (i) => () => state.showVersion(versions[i]);
    if (versions.length < 2) return null;
    return (
        <span class="versions" role="group" aria-label="Versions">
            <IconButton icon="left" label="Earlier version" disabled={at === 0 || running} onClick={show(at - 1)} />
            <span>{`${at + 1}/${versions.length}`}</span>
            <IconButton
                icon="right"
                label="Later version"
                disabled={at === versions.length - 1 || running}
                onClick={show(at + 1)}
            />
        </span>
    );
}
