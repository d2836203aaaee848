// Which sides are open: the conversations on the left, a panel on the right. On a narrow screen they lie over the talk.
import { computed, signal } from "@preact/signals";
import { loadPreference, savePreference } from "./store.js";

const narrowScreen = matchMedia("(max-width: 820px)");
const narrow = signal(narrowScreen.matches);
let opener = null; // has the focus again when what it opened is closed

export const listOpen = signal(!narrow.value && loadPreference("list", true));
export const panel = signal(""); // "settings", "figures" or none
export const covered = computed(() => narrow.value && (listOpen.value || panel.value !== ""));
export const anyOpen = computed(() => covered.value || panel.value !== "");

narrowScreen.addEventListener("change", () => {
    narrow.value = narrowScreen.matches;
    if (narrow.value) closeSides();
});

export function toggleList(event) {
    opener = event.currentTarget;
    listOpen.value = !listOpen.value;
    if (!narrow.value) savePreference("list", listOpen.value);
}

export function togglePanel(event, name) {
    opener = event.currentTarget;
    panel.value = panel.value === name ? "" : name;
}

// The list stays open on a wide screen.
export function closeSides() {
    if (narrow.value) listOpen.value = false;
    panel.value = "";
}

export const focusOpener = () => opener?.focus();
