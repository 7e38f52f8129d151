// The executable that container runtimes run: passes environment and stdin to the agent and returns its
// answer. It implements only the fast path. For everything else it executes the TypeScript program next to it
// (plugin.ts), which implements all the rules: anything unusual here is handled by calling leave().
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static const char *const VARIABLES[] = {"CNI_COMMAND", "CNI_CONTAINERID", "CNI_NETNS",
                                        "CNI_IFNAME",  "CNI_ARGS",        "CNI_PATH"};
static char input[256 << 10], place[4 << 10], request[1 << 20], reply[1 << 20];
static size_t input_length, request_length;
static int input_is_open = 1;
static struct timespec asked_at;

static ssize_t read_all(int fd, char *to, size_t size) {
    size_t length = 0;
    while (length < size) {
        ssize_t got = read(fd, to + length, size - length);
        if (got == 0) break;
        if (got > 0) length += got;
        else if (errno == EAGAIN) poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, -1);
        else if (errno != EINTR) return -1;
    }
    return length;
}

static int write_all(int fd, const char *from, size_t length) {
    while (length > 0) {
        ssize_t put = write(fd, from, length);
        if (put < 0 && errno != EINTR) return -1;
        from += put < 0 ? 0 : put;
        length -= put < 0 ? 0 : put;
    }
    return 0;
}

// Makes stdin readable from the beginning again: what was read already, then the rest.
static int restore_stdin(void) {
    if (input_length == 0) return 0;
    int fd = memfd_create("stdin", MFD_CLOEXEC);
    ssize_t got = input_length;
    for (; got > 0; got = input_is_open ? read_all(0, input, sizeof input) : 0)
        if (write_all(fd, input, got) < 0) return -1;
    return got < 0 || lseek(fd, 0, SEEK_SET) < 0 || dup2(fd, 0) < 0 ? -1 : 0;
}

// Executes the TypeScript program. Its argument is the number of milliseconds spent waiting for the agent.
static _Noreturn void leave(void) {
    char program[4096] = "", waited[24] = "0", *arguments[] = {program, waited, NULL};
    struct timespec now;
    alarm(0);
    signal(SIGPIPE, SIG_DFL);
    if (asked_at.tv_sec && clock_gettime(CLOCK_MONOTONIC, &now) == 0)
        snprintf(waited, sizeof waited, "%lld",
                 (now.tv_sec - asked_at.tv_sec) * 1000LL + (now.tv_nsec - asked_at.tv_nsec) / 1000000);
    // If this executable has been replaced, the link reads "… (deleted)"; the directory is still correct.
    if (readlink("/proc/self/exe", program, sizeof program - sizeof "flatnet-fallback") > 0) {
        strcpy(strrchr(program, '/') + 1, "flatnet-fallback");
        if (restore_stdin() == 0) execve(program, arguments, environ);
    }
    static const char error[] = "{\"cniVersion\":\"1.0.0\",\"code\":5,\"msg\":\"flatnet-fallback: %s\"}\n";
    dprintf(1, error, strerror(errno));
    _exit(1);
}

static void on_alarm(int signal) {
    (void)signal;
    leave();
}

static void put(const char *text, size_t length) {
    if (length > sizeof request - request_length) leave();
    memcpy(request + request_length, text, length);
    request_length += length;
}

// Appends a JSON string. Anything but printable ASCII and newlines is left to the program that handles UTF-8.
static void put_string(const char *text, size_t length) {
    put("\"", 1);
    for (const char *end = text + length; text < end; text++) {
        if (*text == '\n') put("\\n", 2);
        else if (*text < ' ' || *text > '~') leave();
        else if (*text == '"' || *text == '\\') put((char[]){'\\', *text}, 2);
        else put(text, 1);
    }
    put("\"", 1);
}

// Reads the agent's socket path from the first flatnet.json in CNI_PATH.
static void find_agent(struct sockaddr_un *address) {
    static const char start[] = "{\"socket\":\"";
    char file[4096];
    int fd = -1;
    const char *path = getenv("CNI_PATH");
    for (size_t length; path && fd < 0; path = path[length] ? path + length + 1 : NULL) {
        length = strcspn(path, ":");
        if (length == 0 || length > sizeof file - sizeof "/flatnet.json") leave();
        snprintf(file, sizeof file, "%.*s/flatnet.json", (int)length, path);
        fd = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        if (fd < 0 && errno != ENOENT) leave();
    }
    if (fd < 0 || read_all(fd, place, sizeof place - 1) < 0 || close(fd) < 0) leave();
    if (strncmp(place, start, sizeof start - 1) != 0) leave();
    const char *socket = place + sizeof start - 1;
    size_t length = strcspn(socket, "\"\\");
    if (socket[0] != '/' || socket[length] != '"' || length >= sizeof address->sun_path) leave();
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path, socket, length);
}

// A configuration may also name the agent's socket. Every occurrence must then equal the one in flatnet.json,
// so that it does not matter which one takes precedence, and no JSON parser is needed.
static void check_configuration(const char *socket) {
    // Escaped letters could hide the word.
    if (input[0] != '{' || strstr(input, "\\u006") || strstr(input, "\\u007")) leave();
    for (const char *at = input; (at = strstr(at, "socket")); at += strlen(socket)) {
        if (at[-1] != '"' || at[6] != '"' || at[7] != ':') leave();
        at += at[8] == ' ' ? 9 : 8;
        if (*at++ != '"' || strncmp(at, socket, strlen(socket)) != 0 || at[strlen(socket)] != '"') leave();
    }
}

// Decodes {"stdout":"…","exit":N} in place and prints it. The text is itself JSON, so no escapes other than
// these occur in it.
static int pass_on(char *answer) {
    static const char start[] = "{\"stdout\":\"", end[] = "\",\"exit\":";
    char *text = answer + sizeof start - 1, *in = text, *out = text;
    if (strncmp(answer, start, sizeof start - 1) != 0) leave();
    for (; *in != '"'; in++) {
        if (*in == '\\') {
            if (!*++in || !strchr("n\"\\", *in)) leave();
            *out++ = *in == 'n' ? '\n' : *in;
        } else if (*in) *out++ = *in;
        else leave();
    }
    if (strncmp(in, end, sizeof end - 1) != 0) leave();
    in += sizeof end - 1;
    if (*in < '0' || *in > '9' || in[1] != '}' || (in[2] && strcmp(in + 2, "\n") != 0)) leave();
    alarm(0);
    return write_all(1, text, out - text) < 0 ? 1 : *in - '0';
}

int main(void) {
    const char *command = getenv("CNI_COMMAND");
    // If a standard descriptor is closed, the next opened file would take its place.
    if (fcntl(0, F_GETFD) < 0 || fcntl(1, F_GETFD) < 0 || fcntl(2, F_GETFD) < 0) leave();
    if (!command || !*command || strcmp(command, "VERSION") == 0) leave();
    ssize_t got = read_all(0, input, sizeof input);
    if (got > 0) input_length = got;
    // Too long for a configuration, or contains a zero byte.
    if (got <= 0 || input_length == sizeof input || strlen(input) != input_length) leave();
    input_is_open = 0;

    struct sockaddr_un address = {0};
    find_agent(&address);
    check_configuration(address.sun_path);
    const char begin[] = "{\"op\":\"cni\",\"env\":{", middle[] = "},\"stdin\":";
    put(begin, sizeof begin - 1);
    for (size_t i = 0; i < sizeof VARIABLES / sizeof *VARIABLES; i++) {
        const char *value = getenv(VARIABLES[i]);
        if (!value) continue;
        if (i > 0) put(",", 1);
        put_string(VARIABLES[i], strlen(VARIABLES[i]));
        put(":", 1);
        put_string(value, strlen(value));
    }
    put(middle, sizeof middle - 1);
    put_string(input, input_length);
    put("}\n", 2);

    // The same timeouts as plugin.ts. The handler never returns, so the calls below need no timeouts.
    sigprocmask(SIG_SETMASK, &(sigset_t){0}, NULL);
    sigaction(SIGALRM, &(struct sigaction){.sa_handler = on_alarm, .sa_flags = SA_NODEFER}, NULL);
    signal(SIGPIPE, SIG_IGN);
    clock_gettime(CLOCK_MONOTONIC, &asked_at);
    alarm(!strcmp(command, "ADD") ? 30 : !strcmp(command, "DEL") ? 10 : !strcmp(command, "STATUS") ? 3 : 20);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0) leave();
    if (write_all(fd, request, request_length) < 0) leave();
    size_t length = 0;
    do {
        got = read(fd, reply + length, sizeof reply - 1 - length);
        if (got > 0) length += got;
    } while ((got < 0 && errno == EINTR) || (got > 0 && reply[length - 1] != '\n'));
    if (got < 0 || strlen(reply) != length) leave();
    return pass_on(reply);
}
