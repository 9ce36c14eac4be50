/* The upstream of the bench: an OpenAI-shaped server, one thread, epoll, HTTP/1.1 keep-alive.
 *
 *   upstream PORT
 *
 * What it answers is chosen by a marker in the first message, which every gateway passes on:
 *   (none)                   a chat.completion of exactly 1,024 bytes with usage
 *   @size BYTES              a chat.completion whose content has BYTES bytes
 *   @stream N RATE ID BATCH  N chat.completion.chunk events, RATE a second (0: as fast as can be, BATCH
 *                            events a write, 0: all in one), then usage if asked for, then [DONE]
 * A peer that leaves in mid-stream is printed as "cancel ID MONOTONIC_NS" at the moment it is seen.
 * GET /stats tells counters; any other GET lists the one model. */
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
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_FD 16384            /* 2,000 streams and more, far below any descriptor limit we ask for */
#define TICK_NS 1000000L        /* paced streams are looked at every millisecond */
#define MARKER_WINDOW 4096      /* the marker is at the start of the first message */
#define KEEP_BODY (64 << 10)    /* of a longer body the rest is read and forgotten: nothing to page in */
#define SEND_STEP (256 << 10)   /* sent at most at once, so that a long reply does not hold up the others */

typedef struct {
    int fd;
    char *in;
    size_t in_len, in_cap, head_len, body_len, scanned, forgotten;
    bool chunked;
    const char *out;            /* what is being sent now; static or owned */
    char *owned;
    size_t out_len, out_sent;
    bool streaming, wants_usage;
    long left, id;
    int64_t due, interval;
} Conn;

static Conn *conns[MAX_FD];
static int poller, paced_count, paced[MAX_FD];
static long requests, chunks_sent, active, cancelled, late;

static const char EVENT_START[] =
    "data: {\"id\":\"chatcmpl-BenchUpstream0123456789abcd\",\"object\":\"chat.completion.chunk\","
    "\"created\":1764000000,\"model\":\"bench-model\",\"service_tier\":\"default\","
    "\"system_fingerprint\":\"fp_0123456789\",\"choices\":[";
static const char STREAM_HEAD[] =
    "HTTP/1.1 200 OK\r\nDate: Mon, 24 Nov 2025 16:00:00 GMT\r\nServer: bench\r\n"
    "Content-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\n"
    "x-request-id: req_0123456789abcdef\r\nopenai-processing-ms: 12\r\nTransfer-Encoding: chunked\r\n\r\n";
static char whole[4096], models[1024], first_chunk[1024], word_chunks[8][1024], finish_chunk[1024], usage_chunk[1024];
static char done_chunk[64];
static size_t whole_len;

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void as_chunk(char *into, const char *event) {
    sprintf(into, "%zx\r\n%s\r\n", strlen(event), event);
}

static void prepare(void) {
    char body[2048], event[1024];
    const char *before = "{\"id\":\"chatcmpl-BenchUpstream0123456789abcd\",\"object\":\"chat.completion\",\"created\":"
                         "1764000000,\"model\":\"bench-model\",\"choices\":[{\"index\":0,\"message\":{\"role\":"
                         "\"assistant\",\"content\":\"";
    const char *after = "\",\"refusal\":null},\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":"
                        "180,\"completion_tokens\":120,\"total_tokens\":300,\"prompt_tokens_details\":{\"cached_tokens\":"
                        "0},\"completion_tokens_details\":{\"reasoning_tokens\":0}},\"service_tier\":\"default\"}";
    size_t n = strlen(before);
    memcpy(body, before, n);
    for (; n < 1024 - strlen(after); n++) body[n] = "water runs down the channel "[n % 28];
    strcpy(body + n, after);
    whole_len = sprintf(whole, "HTTP/1.1 200 OK\r\nDate: Mon, 24 Nov 2025 16:00:00 GMT\r\nServer: bench\r\n"
                        "Content-Type: application/json\r\nx-request-id: req_0123456789abcdef\r\n"
                        "openai-processing-ms: 12\r\nContent-Length: 1024\r\n\r\n%s", body);
    sprintf(event, "%s{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,"
            "\"finish_reason\":null}]}\n\n", EVENT_START);
    as_chunk(first_chunk, event);
    /* Words change, since gateways take a model that repeats itself for a broken one. */
    static const char *words[8] = {" the", " gate", " lets", " water", " down", " a", " channel", "."};
    for (int i = 0; i < 8; i++) {
        sprintf(event, "%s{\"index\":0,\"delta\":{\"content\":\"%s\"},\"logprobs\":null,\"finish_reason\":null}]}\n\n",
                EVENT_START, words[i]);
        as_chunk(word_chunks[i], event);
    }
    sprintf(event, "%s{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"stop\"}]}\n\n", EVENT_START);
    as_chunk(finish_chunk, event);
    sprintf(event, "%s],\"usage\":{\"prompt_tokens\":180,\"completion_tokens\":98,\"total_tokens\":278}}\n\n", EVENT_START);
    as_chunk(usage_chunk, event);
    as_chunk(done_chunk, "data: [DONE]\n\n");
    strcat(done_chunk, "0\r\n\r\n");
}

static void watch(Conn *c, int op, bool writing) {
    struct epoll_event e = {.events = EPOLLIN | EPOLLRDHUP | (writing ? EPOLLOUT : 0), .data.fd = c->fd};
    epoll_ctl(poller, op, c->fd, &e);
}

static void end_stream(Conn *c) {
    if (!c->streaming) return;
    c->streaming = false;
    active--;
    for (int i = 0; i < paced_count; i++)
        if (paced[i] == c->fd) {
            paced[i] = paced[--paced_count];
            break;
        }
}

static void hang_up(Conn *c) {
    if (c->streaming || c->out) {
        printf("cancel %ld %lld\n", c->id, (long long)now_ns());
        fflush(stdout);
        cancelled++;
    }
    end_stream(c);
    conns[c->fd] = NULL;
    close(c->fd);
    free(c->in);
    free(c->owned);
    free(c);
}

/* Sends what is pending. False: the connection is gone. */
static bool flush(Conn *c) {
    size_t len = c->out_len - c->out_sent;
    ssize_t n = send(c->fd, c->out + c->out_sent, len < SEND_STEP ? len : SEND_STEP, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN) {
        hang_up(c);
        return false;
    }
    if (n > 0) c->out_sent += n;
    if (c->out_sent < c->out_len) {
        watch(c, EPOLL_CTL_MOD, true);
        return true;
    }
    c->out = NULL;
    free(c->owned);
    c->owned = NULL;
    return true;
}

static bool send_bytes(Conn *c, const char *bytes, size_t len, char *owned) {
    c->out = bytes;
    c->out_len = len;
    c->out_sent = 0;
    c->owned = owned;
    return flush(c);
}

/* The frames of the next `count` events (and the end, where they are the last), in one piece. */
static size_t frames(Conn *c, char *into, long count, bool first) {
    char *p = into;
    for (; count > 0 && c->left > 0; count--) {
        p = stpcpy(p, first ? first_chunk : c->left == 1 ? finish_chunk : word_chunks[c->left % 8]);
        first = false;
        c->left--;
        chunks_sent++;
    }
    if (c->left == 0) {
        if (c->wants_usage) p = stpcpy(p, usage_chunk);
        p = stpcpy(p, done_chunk);
    }
    return p - into;
}

/* Adds to what waits for a slow peer, or sends at once where nothing waits. */
static bool send_more(Conn *c, char *text, size_t len) {
    if (!c->out) return send_bytes(c, text, len, text);
    size_t waiting = c->out_len - c->out_sent;
    char *joined = malloc(waiting + len);
    memcpy(joined, c->out + c->out_sent, waiting);
    memcpy(joined + waiting, text, len);
    free(text);
    free(c->owned);
    c->out = c->owned = joined;
    c->out_len = waiting + len;
    c->out_sent = 0;
    return true;
}

static void start_stream(Conn *c, long count, double rate, long batch) {
    c->left = count;
    active++;
    c->streaming = true;
    if (rate > 0) {
        c->interval = 1e9 / rate;
        /* Streams of real life do not tick together: each one gets a phase of its own. */
        c->due = now_ns() + (c->fd * 7919L % 1000) * c->interval / 1000;
        paced[paced_count++] = c->fd;
        batch = 1;
    }
    if (batch <= 0 || batch > count) batch = count;
    for (bool first = true; first || (rate == 0 && c->left > 0); first = false) {
        char *text = malloc(2048 + batch * 512);
        size_t head = first ? (size_t)sprintf(text, "%s", STREAM_HEAD) : 0;
        if (!send_more(c, text, head + frames(c, text + head, batch, first))) return;
    }
    if (c->left == 0) end_stream(c);
}

/* The reply of `size` bytes more content; made once, as making it takes longer than sending it. */
static void send_big(Conn *c, long size) {
    static char *reply;
    static long made;
    static size_t len;
    if (!reply || made != size) {
        const char *json = strstr(whole, "\r\n\r\n") + 4, *text = strstr(json, "water");
        reply = malloc(size + 4096);    /* an older one may still be on its way: it is left alone */
        int n = sprintf(reply, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %ld\r\n\r\n",
                        1024 + size);
        memcpy(reply + n, json, text - json);
        n += text - json;
        memset(reply + n, 'A', size);
        memcpy(reply + n + size, text, 1024 - (text - json));
        len = n + size + 1024 - (text - json);
        made = size;
    }
    send_bytes(c, reply, len, NULL);
}

static void answer(Conn *c, size_t body_at, size_t body_len) {
    char small[512];
    long count, id = 0, batch = 0, size;
    double rate;
    if (memcmp(c->in, "GET ", 4) == 0) {
        bool stats = memcmp(c->in, "GET /stats", 10) == 0;
        const char *list = "{\"object\":\"list\",\"data\":[{\"id\":\"bench-model\",\"object\":\"model\",\"created\":"
                           "1764000000,\"owned_by\":\"bench\"}]}";
        sprintf(small, "{\"requests\":%ld,\"chunks\":%ld,\"active\":%ld,\"cancelled\":%ld,\"late\":%ld}", requests,
                chunks_sent, active, cancelled, late);
        const char *body = stats ? small : list;
        int n = sprintf(models, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                        strlen(body), body);
        send_bytes(c, models, n, NULL);
        return;
    }
    requests++;
    const char *body = c->in + body_at;
    const char *at = memchr(body, '@', body_len < MARKER_WINDOW ? body_len : MARKER_WINDOW);
    c->id = 0;
    if (at && sscanf(at, "@stream %ld %lf %ld %ld", &count, &rate, &id, &batch) >= 2) {
        c->id = id;
        c->wants_usage = memmem(body, body_len, "include_usage", 13) != NULL;
        start_stream(c, count, rate, batch);
    } else if (at && sscanf(at, "@size %ld", &size) == 1) {
        send_big(c, size);
    } else {
        send_bytes(c, whole, whole_len, NULL);
    }
}

/* Length of a whole chunked body at `from`, or 0 while it is incomplete; it is decoded in place. */
static size_t chunked_length(Conn *c, size_t from, size_t *decoded) {
    size_t p = from, out = from;
    for (;;) {
        char *line = memmem(c->in + p, c->in_len - p, "\r\n", 2);
        if (!line) return 0;
        size_t size = strtoul(c->in + p, NULL, 16), data = line + 2 - c->in;
        if (data + size + 2 > c->in_len) return 0;
        if (size == 0) break;
        p = data + size + 2;
    }
    size_t end = p;
    for (p = from;;) {
        char *line = memmem(c->in + p, c->in_len - p, "\r\n", 2);
        size_t size = strtoul(c->in + p, NULL, 16), data = line + 2 - c->in;
        if (size == 0) break;
        memmove(c->in + out, c->in + data, size);
        out += size;
        p = data + size + 2;
    }
    *decoded = out - from;
    return (char *)memmem(c->in + end, c->in_len - end, "\r\n\r\n", 4) + 4 - (c->in + from);
}

/* Looks at the head line by line: quick, since this program has to be far faster than what it measures. */
static bool read_head(Conn *c) {
    char *end = memmem(c->in + c->scanned, c->in_len - c->scanned, "\r\n\r\n", 4);
    c->scanned = c->in_len > 3 ? c->in_len - 3 : 0;
    if (!end) return false;
    c->head_len = end + 4 - c->in;
    c->body_len = 0;
    c->chunked = false;
    for (char *line = memchr(c->in, '\n', c->head_len); ++line < end; line = memchr(line, '\n', end + 4 - line)) {
        if ((*line | 32) == 'c' && strncasecmp(line, "content-length:", 15) == 0) c->body_len = strtoul(line + 15, NULL, 10);
        if ((*line | 32) == 't' && strncasecmp(line, "transfer-encoding: chunked", 26) == 0) c->chunked = true;
    }
    return true;
}

/* Answers one request if it has arrived whole. */
static bool take_request(Conn *c) {
    if (!c->head_len && !read_head(c)) return false;
    size_t raw = c->body_len, decoded = raw;
    if (c->chunked) {
        raw = chunked_length(c, c->head_len, &decoded);
        if (!raw) return false;
    } else if (c->in_len + c->forgotten < c->head_len + raw) {
        if (c->in_len > c->head_len + KEEP_BODY) {
            c->forgotten += c->in_len - c->head_len - KEEP_BODY;
            c->in_len = c->head_len + KEEP_BODY;
        }
        return false;
    }
    int fd = c->fd;
    size_t used = c->head_len + raw - c->forgotten;
    answer(c, c->head_len, decoded < used - c->head_len ? decoded : used - c->head_len);
    if (conns[fd] != c) return false;
    memmove(c->in, c->in + used, c->in_len - used);
    c->in_len -= used;
    c->head_len = c->scanned = c->forgotten = 0;
    return true;
}

static void readable(Conn *c) {
    int fd = c->fd;
    if (c->in_cap - c->in_len < 65536) {
        c->in_cap = c->in_cap ? c->in_cap * 2 : 2 * 65536;
        c->in = realloc(c->in, c->in_cap);
    }
    ssize_t n = recv(fd, c->in + c->in_len, c->in_cap - c->in_len - 1, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) {
        hang_up(c);
        return;
    }
    c->in_len += n;
    c->in[c->in_len] = 0;
    while (conns[fd] == c && !c->streaming && !c->out && c->in_len && take_request(c)) {}
}

static void tick(int64_t now) {
    for (int i = paced_count - 1; i >= 0; i--) {
        Conn *c = conns[paced[i]];
        if (c->due > now) continue;
        c->due += c->interval;
        if (c->out) {
            late++;
            continue;
        }
        char text[4096];
        size_t len = frames(c, text, 1, false);
        if (c->left == 0) end_stream(c);
        char *copy = malloc(len);
        memcpy(copy, text, len);
        send_bytes(c, copy, len, copy);
    }
}

static void accept_all(int listener) {
    int fd, yes = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        if (fd >= MAX_FD) {
            close(fd);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4);     /* less work for each write than bbr */
        conns[fd] = calloc(1, sizeof(Conn));
        conns[fd]->fd = fd;
        watch(conns[fd], EPOLL_CTL_ADD, false);
    }
}

int main(int argc, char **argv) {
    int yes = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event events[256], e = {.events = EPOLLIN, .data.fd = listener};
    if (argc != 2) return 2;
    address.sin_port = htons(atoi(argv[1]));
    signal(SIGPIPE, SIG_IGN);
    prepare();
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096)) {
        perror("upstream: bind");
        return 1;
    }
    poller = epoll_create1(0);
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &e);
    printf("ready\n");
    fflush(stdout);
    bool awake = getenv("BENCH_AWAKE") != NULL;    /* as in load.c */
    for (int64_t next = 0;;) {
        int n = epoll_wait(poller, events, 256, awake ? 0 : paced_count ? 1 : 1000);
        if (awake && !n) sched_yield();
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                accept_all(listener);
                continue;
            }
            Conn *c = conns[fd];
            if (c && events[i].events & EPOLLOUT && c->out) {
                if (!flush(c)) continue;
                if (!c->out) watch(c, EPOLL_CTL_MOD, false);
            }
            if (conns[fd] == c && c && events[i].events & ~EPOLLOUT) readable(c);
        }
        if (paced_count) {
            int64_t now = now_ns();
            if (now >= next) {
                tick(now);
                next = now + TICK_NS;
            }
        }
    }
}
