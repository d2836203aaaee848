// Asks for the API key when the server wants one.
import { useEffect, useRef } from "preact/hooks";
import { keyWanted } from "./api.js";

export function KeyDialog() {
    const dialog = useRef();
    const wanted = keyWanted.value;
    useEffect(() => {
        if (wanted) dialog.current.showModal();
        else dialog.current.close();
    }, [wanted !== null]);
    const submit = (event) => {
        event.preventDefault();
        const key = new FormData(event.target).get("key").trim();
        event.target.reset();
        if (key) wanted?.accept(key);
    };
    return (
        <dialog
            ref={dialog}
            aria-labelledby="key-title"
            onCancel={(event) => {
                event.preventDefault();
                wanted?.refuse();
            }}
        >
            <form onSubmit={submit}>
                <h2 id="key-title">API key</h2>
                <p>
                    {wanted?.wrong ? "That key was not accepted." : "This server answers with a key only."} It is kept
                    until the tab is closed.
                </p>
                <input type="password" name="key" aria-label="API key" autocomplete="off" required />
                <div class="buttons">
                    <button type="button" onClick={() => wanted?.refuse()}>
                        Cancel
                    </button>
                    <button type="submit" class="primary">
                        Use the key
                    </button>
                </div>
            </form>
        </dialog>
    );
}
