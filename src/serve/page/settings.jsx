// Settings of the conversation; a new one begins with the last ones used. Empty fields are left to the server.
import { readSchema, readTools } from "./answer.js";
import * as state from "./state.js";

const NUMBERS = [
    { name: "temperature", label: "Temperature", min: 0, max: 2, step: 0.05 },
    { name: "top_p", label: "Top p", min: 0.01, max: 1, step: 0.01 },
    { name: "top_k", label: "Top k", min: 0, step: 1 },
    { name: "min_p", label: "Min p", min: 0, max: 1, step: 0.01 },
    { name: "presence_penalty", label: "Presence penalty", min: -2, max: 2, step: 0.1 },
    { name: "repetition_penalty", label: "Repetition penalty", min: 0.1, max: 2, step: 0.05 },
    { name: "max_tokens", label: "Max tokens", min: 1, step: 1 },
    { name: "seed", label: "Seed", step: 1 },
];

const THINKING = [
    ["", "Default"],
    ["on", "On"],
    ["off", "Off"],
];

const change = (name) => (event) => state.changeSettings({ [name]: event.target.value });

function NumberField({ name, label, ...limits }) {
    return (
        <label class="field">
            {label}
            <input
                type="number"
                inputMode="decimal"
                name={name}
                placeholder="default"
                value={state.settings.value[name] ?? ""}
                onInput={change(name)}
                {...limits}
            />
        </label>
    );
}

function Thinking() {
    return (
        <fieldset class="field choice">
            <legend>Thinking</legend>
            <div>
                {THINKING.map(([value, label]) => (
                    <label key={value}>
                        <input
                            type="radio"
                            name="thinking"
                            value={value}
                            checked={state.settings.value.thinking === value}
                            onChange={change("thinking")}
                        />
                        <span>{label}</span>
                    </label>
                ))}
            </div>
        </fieldset>
    );
}

const TOOLS_EXAMPLE = `[{"name": "get_weather",
  "parameters": {
    "type": "object",
    "properties": {
      "city": {"type": "string"}}}}]`;
const SCHEMA_EXAMPLE = `{"type": "object",
 "properties": {
   "year": {"type": "integer"}}}`;

function JsonField({ name, label, example, hint, error }) {
    return (
        <label class="field">
            {label}
            <textarea
                class="mono"
                rows={example.split("\n").length + 1}
                spellcheck={false}
                name={name}
                placeholder={example}
                value={state.settings.value[name] ?? ""}
                onInput={change(name)}
                aria-invalid={Boolean(error)}
                aria-describedby={`${name}-hint`}
            />
            <span id={`${name}-hint`} class={error ? "failure" : "hint"}>
                {error ?? hint}
            </span>
        </label>
    );
}

function Tools() {
    const { error } = readTools(state.settings.value.tools);
    const hint = "Calls are shown; you give the results.";
    return <JsonField name="tools" label="Tools (JSON)" example={TOOLS_EXAMPLE} hint={hint} error={error} />;
}

function Schema() {
    const { error } = readSchema(state.settings.value.schema);
    const hint = "Answers follow it, whatever the model would rather say.";
    return <JsonField name="schema" label="JSON schema" example={SCHEMA_EXAMPLE} hint={hint} error={error} />;
}

export function Settings() {
    const reset = () =>
        state.changeSettings({
            ...Object.fromEntries(NUMBERS.map(({ name }) => [name, ""])),
            ...state.DEFAULT_SETTINGS,
        });
    return (
        <div class="settings">
            <label class="field">
                System prompt
                <textarea
                    rows={4}
                    name="system"
                    placeholder="None"
                    value={state.settings.value.system}
                    onInput={change("system")}
                />
            </label>
            <Thinking />
            <div class="grid">
                {NUMBERS.map((each) => (
                    <NumberField key={each.name} {...each} />
                ))}
            </div>
            <Tools />
            <Schema />
            <div class="buttons">
                <button type="button" onClick={reset}>
                    Reset all
                </button>
            </div>
        </div>
    );
}
