// Figures of /proc/self. See process_metrics.h; the fields of `stat` are those of proc(5).
#include "serve/process_metrics.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static void metric(nb_buf *out, const char *name, const char *type, const char *help, double value)
{
    nb_buf_printf(out, "# HELP process_%s %s\n# TYPE process_%s %s\nprocess_%s %.17g\n", name, help, name, type, name,
                  value);
}

// Seconds since 1970 at which the machine started; 0: unknown.
static double boot_time(void)
{
    char line[256];
    long long seconds = 0;
    FILE *file = fopen("/proc/stat", "re");
    while (file && fgets(line, sizeof line, file) && sscanf(line, "btime %lld", &seconds) != 1) {
    }
    if (file) fclose(file);
    return (double)seconds;
}

static int count_files(void)
{
    DIR *folder = opendir("/proc/self/fd");
    if (!folder) return 0;
    int n = 0;
    for (const struct dirent *entry; (entry = readdir(folder));) n += entry->d_name[0] != '.';
    closedir(folder);
    return n - 1; // without the one of this folder
}

static void write_files(nb_buf *out)
{
    struct rlimit limit;
    metric(out, "open_fds", "gauge", "Open file descriptors.", count_files());
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
        metric(out, "max_fds", "gauge", "Most file descriptors that may be open.", (double)limit.rlim_cur);
}

void nb_process_metrics_write(nb_buf *out)
{
    char text[2048];
    FILE *file = fopen("/proc/self/stat", "re");
    if (!file) return;
    text[fread(text, 1, sizeof text - 1, file)] = 0;
    fclose(file);
    unsigned long long user, system, begin, virtual_bytes, resident_pages;
    const char *behind_name = strrchr(text, ')'); // the name may hold anything
    if (!behind_name || sscanf(behind_name,
                               ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %*d %*d %*d %*d %*d %*d %llu "
                               "%llu %llu",
                               &user, &system, &begin, &virtual_bytes, &resident_pages) != 5)
        return;
    double tick = (double)sysconf(_SC_CLK_TCK), page_bytes = (double)sysconf(_SC_PAGESIZE);
    metric(out, "cpu_seconds_total", "counter", "User and system time.", (double)(user + system) / tick);
    metric(out, "start_time_seconds", "gauge", "When the process began, in seconds since 1970.",
           boot_time() + (double)begin / tick);
    metric(out, "virtual_memory_bytes", "gauge", "Virtual memory.", (double)virtual_bytes);
    metric(out, "resident_memory_bytes", "gauge", "Resident memory.", (double)resident_pages * page_bytes);
    write_files(out);
}
