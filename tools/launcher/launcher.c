// Starts flatnet on the Node beside it, without a shell:
//   bin/flatnet ARGUMENT...                    the command line and the agent, from dist/
//   …/flatnet-fallback MILLISECONDS            the CNI plugin, from flatnet-fallback.d/ beside it, on the host
// In flatnet-fallback.d, Node comes with the libraries and the dynamic loader of the image it is from: the host may have others,
// or none. bin/flatnet of the repository has the same settings, and their reasons.
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *path_of(const char *folder, const char *name) {
    char *path;
    if (asprintf(&path, "%s/%s", folder, name) < 0) exit(126);
    return path;
}

int main(int argc, char **argv) {
    static const char fallback[] = "flatnet-fallback";
    char here[PATH_MAX] = "";
    char **line = calloc(argc + 16, sizeof *line);
    int length = 0;
    if (!line || readlink("/proc/self/exe", here, sizeof here - 1) <= 0) return perror("/proc/self/exe"), 126;
    char *name = strrchr(here, '/') + 1;
    name[-1] = '\0';
    // Once it has been replaced, the link reads "… (deleted)".
    int is_plugin = strncmp(name, fallback, sizeof fallback - 1) == 0;
    const char *folder = is_plugin ? path_of(here, "flatnet-fallback.d") : path_of(here, "../dist");
    char *node = path_of(folder, "node"), *loader = path_of(folder, "ld.so");
    if (is_plugin && access(loader, X_OK) == 0) {
        line[length++] = loader;
        line[length++] = "--library-path";
        line[length++] = (char *)folder;
    }
    line[length++] = node;
    if (is_plugin) {
        // The host's settings are not for this Node.
        unsetenv("NODE_OPTIONS");
    } else {
        setenv("UV_THREADPOOL_SIZE", "8", 0);
        setenv("MALLOC_ARENA_MAX", "2", 0);
        setenv("NODE_COMPILE_CACHE", path_of(folder, "cache"), 0);
        setenv("NODE_COMPILE_CACHE_PORTABLE", "1", 0);
        line[length++] = "--min-semi-space-size=2";
        line[length++] = "--max-semi-space-size=16";
        line[length++] = "--heap-growing-percent=40";
    }
    line[length++] = "--disable-warning=ExperimentalWarning";
    line[length++] = path_of(folder, is_plugin ? "flatnet-cni.mjs" : "flatnet.mjs");
    for (int i = 1; i < argc; i++) line[length++] = argv[i];
    execv(line[0], line);
    fprintf(stderr, "flatnet: %s: %s\n", line[0], strerror(errno));
    return 127;
}
