/* The load generator of the bench: one thread, epoll, keep-alive connections, one request over and over.
 *
 *   load PORT CONNECTIONS WARMUP_S SECONDS RATE REQUEST_FILE
 *
 * REQUEST_FILE holds the request's bytes as they go on the wire. RATE 0 is a closed loop: each connection
 * sends again as soon as its reply has ended. With RATE requests are due on a fixed schedule, and latency
 * counts from when a request was due, so that a stall is seen by all who would have come meanwhile.
 * A reply counts if its status is 200, it is whole, and (event streams) it ends with [DONE].
 * With BENCH_AWAKE in the environment it asks for news without end and never sleeps: see docs/benchmarks.md.
 * Says "measuring" when the warm-up is over; one line of JSON is the result. Connections stay open until
 * standard input ends, so that what closing them costs can be kept out of a measure. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_CONNECTIONS 8192
#define MAX_HEAD 16384          /* more reply headers than any contestant sends */
#define READ_SIZE (256 << 10)
#define MAX_BACKLOG 65536       /* requests due and not yet sent, in a schedule */

enum { HEAD, LENGTH, CHUNK_SIZE, CHUNK_DATA, CHUNK_END, TRAILER, UNTIL_CLOSE };

typedef struct {
    int fd, state, status;
    bool busy, events, kept;
    char head[MAX_HEAD], tail[160];     /* tail: the payload's last bytes, to find [DONE] */
    size_t head_len, left, sent, tail_len;
    int64_t began;
} Conn;

static Conn conns[MAX_CONNECTIONS];
static int count, poller, idle[MAX_CONNECTIONS], idle_count;
static struct sockaddr_in address;
static char *request, buffer[READ_SIZE], first_error[256];
static size_t request_len;
static int64_t measure_from, stop_at, backlog[MAX_BACKLOG];
static size_t backlog_head, backlog_tail;
static long completed, failed, events_seen, reconnects, dropped;
static double rate, *latencies;
static size_t latency_cap;

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void note_failure(const char *why) {
    failed++;
    if (first_error[0]) return;
    snprintf(first_error, sizeof first_error, "%s", why);
    for (char *p = first_error; *p; p++)
        if (*p == '"' || *p == '\\' || (unsigned char)*p < 32) *p = ' ';
}

static void open_conn(Conn *c) {
    int yes = 1;
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof address)) {
        perror("load: connect");
        exit(1);
    }
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    setsockopt(c->fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4);      /* less work for each write than bbr */
    struct epoll_event e = {.events = EPOLLIN, .data.u32 = c - conns};
    epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &e);
}

static void push(Conn *c) {
    while (c->sent < request_len) {
        ssize_t n = send(c->fd, request + c->sent, request_len - c->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0) break;       /* full, or gone: then the read side tells */
        c->sent += n;
    }
    struct epoll_event e = {.events = EPOLLIN | (c->sent < request_len ? EPOLLOUT : 0), .data.u32 = c - conns};
    if (c->sent < request_len) epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &e);
}

static void start(Conn *c, int64_t began) {
    c->busy = true;
    c->state = HEAD;
    c->head_len = c->sent = c->tail_len = 0;
    c->began = began;
    push(c);
}

static void next_request(Conn *c, int64_t now) {
    c->busy = false;
    if (rate == 0) {
        if (now < stop_at) start(c, now);
    } else if (backlog_head != backlog_tail) {
        start(c, backlog[backlog_head++ % MAX_BACKLOG]);
    } else {
        idle[idle_count++] = c - conns;
    }
}

static void finish(Conn *c) {
    int64_t now = now_ns();
    c->kept = true;
    if (c->status != 200) {
        c->head[c->head_len < MAX_HEAD ? c->head_len : MAX_HEAD - 1] = 0;
        note_failure(c->head);
    } else if (c->events && !memmem(c->tail, c->tail_len, "[DONE]", 6)) {
        char why[256];
        snprintf(why, sizeof why, "the stream ended without [DONE]: %.*s", (int)c->tail_len, c->tail);
        note_failure(why);
    } else if (now >= measure_from && now < stop_at) {
        if ((size_t)completed == latency_cap) {
            latency_cap = latency_cap ? latency_cap * 2 : 1 << 16;
            latencies = realloc(latencies, latency_cap * sizeof *latencies);
        }
        latencies[completed++] = (now - c->began) / 1e3;
    }
    next_request(c, now);
}

static void payload(Conn *c, const char *p, size_t len) {
    if (!c->events || !len) return;
    bool measured = now_ns() >= measure_from;
    char last = c->tail_len ? c->tail[c->tail_len - 1] : 0;
    for (const char *at = p, *end = p + len; (at = memchr(at, '\n', end - at)); at++)
        if ((at > p ? at[-1] : last) == '\n') events_seen += measured;
    size_t keep = sizeof c->tail;
    if (len >= keep) {
        memcpy(c->tail, p + len - keep, keep);
        c->tail_len = keep;
        return;
    }
    size_t old = c->tail_len + len > keep ? keep - len : c->tail_len;
    memmove(c->tail, c->tail + c->tail_len - old, old);
    memcpy(c->tail + old, p, len);
    c->tail_len = old + len;
}

/* Takes head bytes; returns how many, and leaves HEAD when the blank line has come. */
static size_t take_head(Conn *c, const char *p, size_t len) {
    size_t had = c->head_len, room = MAX_HEAD - 1 - had, n = len < room ? len : room;
    memcpy(c->head + had, p, n);
    c->head_len += n;
    c->head[c->head_len] = 0;
    char *end = strstr(c->head + (had > 3 ? had - 3 : 0), "\r\n\r\n");
    if (!end) return n;
    n = end + 4 - c->head - had;
    end[2] = 0;
    c->head_len = end + 2 - c->head;
    c->status = atoi(c->head + 9);
    c->events = false;
    c->state = UNTIL_CLOSE;
    c->left = 0;
    for (char *line = c->head; (line = strchr(line, '\n')) && *++line;) {
        char first = *line | 32;
        if (first == 'c' && strncasecmp(line, "content-length:", 15) == 0) {
            c->left = strtoul(line + 15, NULL, 10);
            c->state = LENGTH;
        } else if (first == 'c' && strncasecmp(line, "content-type: text/event-stream", 31) == 0) {
            c->events = true;
        } else if (first == 't' && strncasecmp(line, "transfer-encoding: chunked", 26) == 0) {
            c->state = CHUNK_SIZE;
        }
    }
    return n;
}

/* Feeds reply bytes; true when the reply has ended. */
static bool feed(Conn *c, const char *p, size_t len) {
    const char *end = p + len;
    while (p < end) {
        size_t n = end - p < (ssize_t)c->left ? (size_t)(end - p) : c->left;
        switch (c->state) {
        case HEAD:
            p += take_head(c, p, end - p);
            if (c->state == LENGTH && c->left == 0) return true;
            break;
        case LENGTH:
            payload(c, p, n);
            p += n;
            if ((c->left -= n) == 0) return true;
            break;
        case CHUNK_SIZE:
            for (; p < end && *p != '\n'; p++)
                if (*p != '\r') c->left = c->left * 16 + (*p <= '9' ? *p - '0' : (*p | 32) - 'a' + 10);
            if (p == end) break;
            p++;
            c->state = c->left ? CHUNK_DATA : TRAILER;
            break;
        case CHUNK_DATA:
            payload(c, p, n);
            p += n;
            if ((c->left -= n) == 0) c->state = CHUNK_END;
            break;
        case CHUNK_END:
            if (*p++ == '\n') c->state = CHUNK_SIZE;
            break;
        case TRAILER:
            if (*p++ == '\n') return true;
            break;
        case UNTIL_CLOSE:
            payload(c, p, end - p);
            return false;
        }
    }
    return false;
}

static void readable(Conn *c) {
    ssize_t n = recv(c->fd, buffer, sizeof buffer, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN) return;
    if (n > 0) {
        if (c->busy && feed(c, buffer, n)) finish(c);
        return;
    }
    close(c->fd);
    reconnects++;
    open_conn(c);
    if (!c->busy) return;
    if (c->state == UNTIL_CLOSE) {
        finish(c);
    } else if (c->kept && c->head_len == 0) {
        start(c, c->began);     /* the server gave up an idle connection: any client asks again on a fresh one */
    } else {
        note_failure("the connection was closed before the reply's end");
        next_request(c, now_ns());
    }
    c->kept = false;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double percentile(double share) {
    return completed ? latencies[(size_t)(share * (completed - 1))] : 0;
}

static void release_due(int64_t now, double interval, int64_t *due) {
    for (; *due <= now && *due < stop_at; *due += interval) {
        if (idle_count) start(&conns[idle[--idle_count]], *due);
        else if (backlog_tail - backlog_head < MAX_BACKLOG) backlog[backlog_tail++ % MAX_BACKLOG] = *due;
        else dropped++;
    }
}

int main(int argc, char **argv) {
    if (argc != 7) return 2;
    count = atoi(argv[2]);
    double warmup = atof(argv[3]), seconds = atof(argv[4]);
    rate = atof(argv[5]);
    FILE *f = fopen(argv[6], "rb");
    if (!f || count < 1 || count > MAX_CONNECTIONS) return 2;
    fseek(f, 0, SEEK_END);
    request_len = ftell(f);
    rewind(f);
    request = malloc(request_len);
    if (fread(request, 1, request_len, f) != request_len) return 2;
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_TIMERSLACK, 1);        /* a schedule is not late by the default 50 us */
    address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    address.sin_port = htons(atoi(argv[1]));
    poller = epoll_create1(0);
    for (int i = 0; i < count; i++) open_conn(&conns[i]);
    int64_t begin = now_ns(), due = begin;
    double interval = rate > 0 ? 1e9 / rate : 0;
    measure_from = begin + warmup * 1e9;
    stop_at = measure_from + seconds * 1e9;
    for (int i = count - 1; i >= 0; i--) next_request(&conns[i], begin);
    struct epoll_event events[512];
    bool announced = false;
    bool awake = getenv("BENCH_AWAKE") != NULL;
    for (int64_t now = begin; now < stop_at; now = now_ns()) {
        struct timespec wait = {.tv_nsec = 20000000};
        if (!announced && now >= measure_from) {
            announced = true;
            puts("measuring");
            fflush(stdout);
        }
        if (rate > 0) {
            release_due(now, interval, &due);
            int64_t until = due - now_ns();
            wait.tv_nsec = until < 0 ? 0 : until < 20000000 ? until : 20000000;
        }
        if (awake) wait.tv_nsec = 0;
        int n = epoll_pwait2(poller, events, 512, &wait, NULL);
        if (awake && !n) sched_yield();
        for (int i = 0; i < n; i++) {
            Conn *c = &conns[events[i].data.u32];
            if (events[i].events & EPOLLOUT) {
                struct epoll_event e = {.events = EPOLLIN, .data.u32 = c - conns};
                epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &e);
                push(c);
            }
            if (events[i].events & ~EPOLLOUT) readable(c);
        }
    }
    qsort(latencies, completed, sizeof *latencies, by_value);
    printf("{\"completed\":%ld,\"failed\":%ld,\"seconds\":%.3f,\"events\":%ld,\"reconnects\":%ld,\"unsent\":%ld,"
           "\"p50_us\":%.1f,\"p99_us\":%.1f,\"max_us\":%.1f,\"first_error\":\"%s\"}\n",
           completed, failed, seconds, events_seen, reconnects, dropped + (long)(backlog_tail - backlog_head),
           percentile(0.5), percentile(0.99), percentile(1), first_error);
    fflush(stdout);
    while (getchar() != EOF) {}
    return 0;
}
