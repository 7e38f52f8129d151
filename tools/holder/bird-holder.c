// Runs BIRD for agents that come and go: bird-holder SOCKET [BIRD]
// It is the first process of a container of its own, so that BIRD outlives the agent's. Agents send it one request per connection,
// words that end with a null byte each, and shut down their end:
//   start LOG ARGUMENT...   starts BIRD, which appends what it prints to LOG
//   kill                    ends BIRD without a farewell, so that its peers keep this node's routes
//   state                   asks whether BIRD runs
// It answers `runs`, `ended`, or what went wrong, and does nothing unasked: only an agent knows what BIRD is to do, and whether it
// takes over routes. When the holder ends, so does BIRD, in the same way.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LONGEST = 16 * 1024, WORDS = 64 };

static const char *program = "bird";
static pid_t bird;
static sigset_t handled;

static void fail(const char *what) {
    fprintf(stderr, "bird-holder: %s: %s\n", what, strerror(errno));
    exit(1);
}

// Also whatever else has become a child of the container's first process.
static void reap(void) {
    int status;
    for (pid_t ended; (ended = waitpid(-1, &status, WNOHANG)) > 0;) {
        if (ended != bird) continue;
        fprintf(stderr, "bird-holder: BIRD has ended (%s %d)\n", WIFSIGNALED(status) ? "signal" : "status",
                WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        bird = 0;
    }
}

static void end_bird(void) {
    if (bird == 0) return;
    kill(bird, SIGKILL);
    waitpid(bird, NULL, 0);
    bird = 0;
}

// Returns 0, or what keeps BIRD from starting, which its child tells through a pipe that exec closes.
static int start_bird(char **words) {
    int failure[2], error = 0;
    if (pipe2(failure, O_CLOEXEC) < 0) return errno;
    bird = fork();
    if (bird == 0) {
        char *log = words[0];
        words[0] = (char *)program;
        sigprocmask(SIG_UNBLOCK, &handled, NULL);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        int to = open(log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600), from = open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (to >= 0 && from >= 0 && dup2(from, 0) == 0 && dup2(to, 1) == 1 && dup2(to, 2) == 2) execvp(program, words);
        error = errno;
        _exit(write(failure[1], &error, sizeof error) < 0 ? 126 : 127);
    }
    if (bird < 0) error = errno, bird = 0;
    close(failure[1]);
    if (read(failure[0], &error, sizeof error) == sizeof error) end_bird();
    close(failure[0]);
    return error;
}

static const char *answer_to(char **words, int count) {
    static char text[256];
    reap();
    if (count == 1 && strcmp(words[0], "kill") == 0) end_bird();
    else if (count >= 2 && strcmp(words[0], "start") == 0) {
        if (bird) return "BIRD runs already";
        int error = start_bird(words + 1);
        if (error) return snprintf(text, sizeof text, "%s: %s", program, strerror(error)), text;
    } else if (count != 1 || strcmp(words[0], "state") != 0) return "unknown request";
    return bird ? "runs" : "ended";
}

static void serve(int client) {
    static char request[LONGEST];
    char *words[WORDS + 1] = {0};
    const struct timeval patience = {.tv_sec = 2};
    setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    size_t length = 0;
    for (ssize_t got; (got = read(client, request + length, sizeof request - length)) != 0; length += got) {
        if (got < 0 || length + got == sizeof request) return;
    }
    if (length == 0 || request[length - 1] != '\0') return;
    int count = 0;
    for (char *word = request; word < request + length; word += strlen(word) + 1) {
        if (count == WORDS) return;
        words[count++] = word;
    }
    const char *answer = answer_to(words, count);
    // An agent that has gone does not end BIRD.
    send(client, answer, strlen(answer), MSG_NOSIGNAL);
}

// Waits until no other holder, nor its BIRD, is left on this socket. BIRD inherits the lock.
static void lock(const char *path) {
    char *name;
    if (asprintf(&name, "%s.lock", path) < 0) fail(path);
    int fd = open(name, O_RDWR | O_CREAT, 0600);
    while (fd < 0 || flock(fd, LOCK_EX) < 0) {
        if (fd < 0 || errno != EINTR) fail(name);
    }
    free(name);
}

static int listen_on(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) errno = ENAMETOOLONG, fail(path);
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    umask(0077);
    unlink(path);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 16) < 0) fail(path);
    return fd;
}

int main(int argc, char **argv) {
    if (argc < 2 || argc > 3) return fprintf(stderr, "usage: bird-holder SOCKET [BIRD]\n"), 2;
    if (argc == 3) program = argv[2];
    lock(argv[1]);
    sigemptyset(&handled);
    for (const int *each = (int[]){SIGTERM, SIGINT, SIGCHLD, 0}; *each; each++) sigaddset(&handled, *each);
    sigprocmask(SIG_BLOCK, &handled, NULL);
    int signals = signalfd(-1, &handled, SFD_CLOEXEC), listening = listen_on(argv[1]);
    if (signals < 0) fail("signalfd");
    struct pollfd wanted[] = {{.fd = signals, .events = POLLIN}, {.fd = listening, .events = POLLIN}};
    for (;;) {
        if (poll(wanted, 2, -1) < 0) continue;
        struct signalfd_siginfo signal;
        if (wanted[0].revents && read(signals, &signal, sizeof signal) == sizeof signal) {
            if (signal.ssi_signo != SIGCHLD) break;
            reap();
        }
        if (!wanted[1].revents) continue;
        int client = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
        if (client < 0) continue;
        serve(client);
        close(client);
    }
    end_bird();
    return 0;
}
