// "Did you mean": the optimal string alignment distance (Levenshtein plus swapped neighbours) between short names.
#include <string.h>

#include "cli/cli_internal.h"

enum { NAME_MAX_BYTES = 48 };

static int least(int a, int b)
{
    return a < b ? a : b;
}

static int distance(const char *a, int n, const char *b, int m)
{
    int row[3][NAME_MAX_BYTES + 1]; // the last three rows, taken in turn
    for (int j = 0; j <= m; j++) row[0][j] = j;
    for (int i = 1; i <= n; i++) {
        int *now = row[i % 3], *above = row[(i + 2) % 3], *two_above = row[(i + 1) % 3];
        now[0] = i;
        for (int j = 1; j <= m; j++) {
            int change = above[j - 1] + (a[i - 1] != b[j - 1]);
            now[j] = least(change, least(above[j], now[j - 1]) + 1);
            bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if (swapped) now[j] = least(now[j], two_above[j - 2] + 1);
        }
    }
    return row[n % 3][m];
}

void nb_nearest_offer(nb_nearest *nearest, const char *candidate)
{
    size_t n = strlen(nearest->name), m = strlen(candidate);
    if (n > NAME_MAX_BYTES || m > NAME_MAX_BYTES) return;
    int d = distance(nearest->name, (int)n, candidate, (int)m);
    if (d > 1 + (int)m / 4) return;
    if (nearest->best && d >= nearest->distance) return;
    nearest->best = candidate;
    nearest->distance = d;
}
