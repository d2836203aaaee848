// The bar over the talk: what is open, which model, how fast, and the ways to the sides.
import { Pulse } from "./figures.jsx";
import { IconButton } from "./icons.jsx";
import { listOpen, panel, toggleList, togglePanel } from "./sides.js";
import * as state from "./state.js";
import { titleOf } from "./tree.js";

const NEXT_THEME = { auto: "light", light: "dark", dark: "auto" };

function ThemeButton() {
    const theme = state.theme.value;
    const next = () => (state.theme.value = NEXT_THEME[theme]);
    return <IconButton icon={theme} label={`Colours: ${theme}`} onClick={next} />;
}

function ModelPicker() {
    const models = state.models.value;
    const choose = (event) => state.changeSettings({ model: event.target.value });
    if (models.length < 2) return <span class="model">{models[0]?.id ?? ""}</span>;
    return (
        <select class="model" aria-label="Model" value={state.model.value.id} onChange={choose}>
            {models.map(({ id }) => (
                <option key={id}>{id}</option>
            ))}
        </select>
    );
}

export function Bar() {
    const toggles = (name) => ({
        "aria-expanded": panel.value === name,
        "aria-controls": "panel",
        onClick: (event) => togglePanel(event, name),
    });
    return (
        <header class="bar">
            <IconButton
                icon="menu"
                label="Conversations"
                aria-expanded={listOpen.value}
                aria-controls="list"
                onClick={toggleList}
            />
            <ModelPicker />
            <h1>{titleOf(state.current.value)}</h1>
            <Pulse {...toggles("figures")} />
            <IconButton icon="settings" label="Settings" {...toggles("settings")} />
            <ThemeButton />
        </header>
    );
}
