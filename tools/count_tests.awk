# Adds up the lines "N passed, N failed, N skipped" of a log; prints the three sums. `ctest -V` puts the number of the
# test in front ("12: "); one that ctest calls failed without a failure of its own (a crash, a sanitizer) counts as one.
function amount(word, text) {
    return match(text, "[0-9]+ " word) ? substr(text, RSTART) + 0 : 0
}
/^([0-9]+: )?[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$/ {
    test = match($0, /^[0-9]+: /) ? $1 + 0 : 0
    passed += amount("passed", $0)
    skipped += amount("skipped", $0)
    failed += amount("failed", $0)
    failed_of[test] += amount("failed", $0)
}
/ Test +#[0-9]+: / {
    match($0, /#[0-9]+/)
    test = substr($0, RSTART + 1, RLENGTH - 1) + 0
    if ($0 !~ / Passed / && !failed_of[test]) failed++
}
END { print passed + 0, failed + 0, skipped + 0 }
