// Live figures of the server as small plots: /metrics is read each second while the page is seen.
import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { getMetrics } from "./api.js";
import { duration, percent, rate } from "./format.js";
import { figuresBetween, parseMetrics } from "./prometheus.js";

const EVERY_MS = 1000;
const SAMPLES = 120;
const WIDTH = 240,
    HEIGHT = 44;

const samples = signal([]); // of figuresBetween, oldest first
const failed = signal(false);
let last = null; // {at, metrics}

async function sample() {
    if (document.hidden) {
        last = null;
        return;
    }
    try {
        const metrics = parseMetrics(await getMetrics());
        const at = performance.now();
        if (last)
            samples.value = [...samples.value, figuresBetween(last.metrics, metrics, (at - last.at) / 1000)].slice(
                -SAMPLES,
            );
        last = { at, metrics };
        failed.value = false;
    } catch {
        last = null;
        failed.value = true;
    }
}

function useSampling() {
    useEffect(() => {
        let timer;
        const next = async () => {
            await sample();
            timer = setTimeout(next, EVERY_MS);
        };
        next();
        return () => clearTimeout(timer);
    }, []);
}

const whole = (value) => String(Math.round(value));
const seconds = (value) => duration(1000 * value);

const PLOTS = [
    { name: "generated", label: "Generation", unit: "tokens/s", write: rate },
    { name: "prompt", label: "Prompts", unit: "tokens/s", write: rate },
    { name: "running", label: "Batch", unit: "requests running", write: whole },
    { name: "waiting", label: "Queue", unit: "requests waiting", write: whole },
    { name: "cache", label: "KV cache", unit: "in use", write: percent, most: 1 },
    { name: "hits", label: "Prefix cache", unit: "of prompts found", write: percent, most: 1 },
    { name: "drafts", label: "Speculation", unit: "of drafts right", write: percent, most: 1, optional: true },
    { name: "firstToken", label: "First token", unit: "on average", write: seconds },
];

// The newest value lies at the right edge; a gap is drawn as the value before it.
function curve(values, most) {
    let y = HEIGHT;
    return values.map((value, i) => {
        if (value !== null) y = HEIGHT - 1 - (HEIGHT - 4) * Math.min(1, value / most);
        const x = WIDTH - ((values.length - 1 - i) * WIDTH) / (SAMPLES - 1);
        return `${x.toFixed(1)},${y.toFixed(1)}`;
    });
}

function Plot({ name, label, unit, write, most, optional }) {
    const values = samples.value.map((each) => each[name]);
    const now = values.findLast((value) => value !== null) ?? null;
    if (optional && now === null) return null;
    const top = most ?? Math.max(1e-9, ...values.filter((value) => value !== null));
    const points = curve(values, top);
    const text = now === null ? "–" : write(now);
    return (
        <figure class="plot">
            <figcaption>
                {label}
                {most === undefined && top > 1e-9 && <small>max {write(top)}</small>}
                <span>
                    <b>{text}</b> {unit}
                </span>
            </figcaption>
            <svg
                viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
                preserveAspectRatio="none"
                role="img"
                aria-label={`${label}: ${text} ${unit}`}
            >
                <line x1="0" x2={WIDTH} y1={HEIGHT - 0.5} y2={HEIGHT - 0.5} class="ground" />
                {points.length > 1 && now !== null && (
                    <>
                        <polygon
                            points={`${points[0].split(",")[0]},${HEIGHT} ${points.join(" ")} ${WIDTH},${HEIGHT}`}
                        />
                        <polyline points={points.join(" ")} />
                    </>
                )}
            </svg>
        </figure>
    );
}

export function Figures() {
    return (
        <div class="figures">
            {failed.value && <p class="failure">The server gives no figures at /metrics.</p>}
            {PLOTS.map((each) => (
                <Plot key={each.name} {...each} />
            ))}
            <p class="hint">The whole server, the last two minutes.</p>
        </div>
    );
}

// The button with the one figure that is always in sight. Its attributes are the button's.
export function Pulse(attributes) {
    useSampling();
    const now = samples.value.at(-1);
    const value = failed.value ? "–" : rate(now?.generated ?? 0);
    return (
        <button
            type="button"
            class="pulse"
            title="Live figures"
            aria-label={`Live figures: ${value} tokens/s`}
            {...attributes}
        >
            <span class={now?.running > 0 ? "dot" : "dot idle"} />
            <span>
                {value}
                <span class="unit"> tokens/s</span>
            </span>
        </button>
    );
}
