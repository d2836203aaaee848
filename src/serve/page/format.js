// Figures as people read them.

export const number = (value) => value.toLocaleString("en");
export const percent = (value) => `${(100 * value).toFixed(value < 0.0995 ? 1 : 0)}%`;
export const duration = (ms) => (ms < 950 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(ms < 9950 ? 1 : 0)} s`);

// Three digits or more are enough.
export const rate = (value) => (value >= 100 ? number(Math.round(value)) : value.toFixed(1));
