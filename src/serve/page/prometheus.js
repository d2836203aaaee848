// The text of /metrics, and what the plots show of it.

// {name: value}: samples of one name with different labels are added up; buckets and what is not a number are left out.
export function parseMetrics(text) {
    const found = {};
    for (const line of text.split("\n")) {
        const match = /^([a-zA-Z_:][\w:]*)(?:\{.*\})? ([-+.\deE]+)/.exec(line);
        const value = Number(match?.[2]);
        if (!Number.isFinite(value) || match[1].endsWith("_bucket")) continue;
        found[match[1]] = (found[match[1]] ?? 0) + value;
    }
    return found;
}

const ratio = (part, whole) => (whole > 0 ? part / whole : null);

// What is shown of two readings that lie `seconds` apart; null where there is nothing to say.
export function figuresBetween(before, now, seconds) {
    const grown = (name) => Math.max(0, (now[name] ?? 0) - (before[name] ?? 0));
    const first = "vllm:time_to_first_token_seconds";
    const drafts = "vllm:spec_decode_num";
    return {
        generated: grown("vllm:generation_tokens_total") / seconds,
        prompt: grown("vllm:prompt_tokens_total") / seconds,
        running: now["vllm:num_requests_running"] ?? null,
        waiting: now["vllm:num_requests_waiting"] ?? null,
        cache: now["vllm:kv_cache_usage_perc"] ?? null,
        hits: ratio(grown("vllm:prefix_cache_hits_total"), grown("vllm:prefix_cache_queries_total")),
        drafts: ratio(grown(`${drafts}_accepted_tokens_total`), grown(`${drafts}_draft_tokens_total`)),
        firstToken: ratio(grown(`${first}_sum`), grown(`${first}_count`)),
    };
}
