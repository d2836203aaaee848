// The icons, drawn on a grid of 24 by 24, and the button that is nothing but one.

const SHAPES = {
    menu: "M4 7h16M4 12h16M4 17h10",
    plus: "M12 5v14M5 12h14",
    close: "M6 6l12 12M18 6L6 18",
    send: "M12 19V5M6 11l6-6 6 6",
    copy: "M9 9h10a1 1 0 0 1 1 1v10a1 1 0 0 1-1 1H10a1 1 0 0 1-1-1zM15 9V4a1 1 0 0 0-1-1H4a1 1 0 0 0-1 1v10a1 1 0 0 0 1 1h5",
    check: "M5 13l4 4L19 7",
    edit: "M4 20h4L19 9l-4-4L4 16zM13.5 6.5l4 4",
    again: "M20 12a8 8 0 1 1-2.5-5.8M20 3v4.5h-4.5",
    onward: "M5 6l7 6-7 6zM13 6l7 6-7 6z",
    trash: "M4 7h16M9 7V4h6v3M6 7l1 13h10l1-13M10 11v5M14 11v5",
    save: "M12 4v11M7 10l5 5 5-5M5 20h14",
    load: "M12 16V5M7 10l5-5 5 5M5 20h14",
    left: "M14 6l-6 6 6 6",
    right: "M10 6l6 6-6 6",
    down: "M6 9l6 6 6-6",
    settings:
        "M4 8h9M19 8h1M4 16h1M11 16h9M16 5.5a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5zM8 13.5a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5z",
    figures: "M4 19h16M6 15l4-5 3 3 5-7",
    tool: "M14.5 6.5a4 4 0 0 0-5 5L4 17l3 3 5.500-5.500a4 4 0 0 0 5-5L15 12l-3-3z",
    light: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.400 1.400M17.600 17.600L19 19M5 19l1.400-1.400M17.600 6.400L19 5",
    dark: "M20 14.500A8.500 8.500 0 0 1 9.500 4a8.500 8.500 0 1 0 10.500 10.500z",
    auto: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM12 3v18M12 7h6.500M12 12h9M12 17h6.500",
    thought: "M12 3l1.800 5.200L19 10l-5.200 1.800L12 17l-1.800-5.200L5 10l5.200-1.800zM19 16v4M17 18h4",
};

export const Icon = ({ name }) => (
    <svg class="icon" viewBox="0 0 24 24" aria-hidden="true">
        {name === "stop" ? (
            <rect x="5" y="5" width="14" height="14" rx="3" class="filled" />
        ) : (
            <path d={SHAPES[name]} />
        )}
    </svg>
);

// What it does is its label, shown where a pointer rests on it. Other attributes are the button's.
export const IconButton = ({ icon, label, ...others }) => (
    <button type="button" class="quiet" aria-label={label} title={label} {...others}>
        <Icon name={icon} />
    </button>
);

// Four bits, the last one set.
export const Logo = () => (
    <svg class="logo" viewBox="0 0 24 24" aria-hidden="true">
        <rect x="3" y="3" width="8" height="8" rx="2.4" />
        <rect x="3" y="13" width="8" height="8" rx="2.4" />
        <rect x="13" y="13" width="8" height="8" rx="2.4" />
        <rect x="14" y="4" width="6" height="6" rx="1.600" class="hollow" />
    </svg>
);
