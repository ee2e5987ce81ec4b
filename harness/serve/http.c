/* SPDX-License-Identifier: Apache-2.0
 * Connections.  Each has a thread that reads the request, hands it in and waits; it gives up
 * on a client that says nothing for TIMEOUT seconds, and on one whose request is not whole
 * after DEADLINE.  A web page that a browser shows must not reach us through the reader's own
 * machine: requests that name another host, or come from another's page, are refused. */
#include "harness/serve/serve.h"

#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { CONNECTIONS = 32, TIMEOUT = 10, DEADLINE = 120, HEADERS = 64 << 10, PIECE = 16 << 10,
       HELD = 4 * G4_ASK_MEDIA };   /* bytes of bodies, of all connections together */

struct g4_http {
    g4_served *served;
    struct MHD_Daemon *daemon;
    char host[64];
    size_t held;                   /* under the desk's mutex */
};

/* One request while it comes in. */
typedef struct incoming {
    g4_http *http;
    struct MHD_Connection *connection;
    g4_job job;
    char *body;                    /* malloc'ed [size] */
    size_t size, capacity, most;
    int refused;                   /* HTTP status: the rest of the body is thrown away */
    int64_t since;
} incoming;

static int64_t seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec;
}

/* ---- answering ---- */

static enum MHD_Result queue_text(struct MHD_Connection *c, int status, const char *type,
                                  char *text)
{
    if (!text) return MHD_NO;
    struct MHD_Response *r = MHD_create_response_from_buffer(strlen(text), text,
                                                             MHD_RESPMEM_MUST_FREE);
    if (!r) {
        free(text);
        return MHD_NO;
    }
    MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
        MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, "GET, POST");
    if (status >= 400) MHD_add_response_header(r, MHD_HTTP_HEADER_CONNECTION, "close");
    enum MHD_Result done = MHD_queue_response(c, (unsigned)status, r);
    MHD_destroy_response(r);
    return done;
}

static enum MHD_Result refuse(struct MHD_Connection *c, int status, const char *message,
                              const char *field)
{
    return queue_text(c, status, "application/json", g4_error_text(status, message, field, NULL));
}

/* While a job computes, silence is ours; else it is the client's. */
static void patience(struct MHD_Connection *c, unsigned limit)
{
    MHD_set_connection_option(c, MHD_CONNECTION_OPTION_TIMEOUT, limit);
}

/* Events as they come: called again and again by the connection's thread. */
static ssize_t next_events(void *ctx, uint64_t at, char *to, size_t most)
{
    incoming *in = ctx;
    (void)at;
    patience(in->connection, 0);
    size_t n = g4_desk_take(&in->http->served->desk, &in->job, to, most);
    patience(in->connection, TIMEOUT);
    return n ? (ssize_t)n : MHD_CONTENT_READER_END_OF_STREAM;
}

static enum MHD_Result queue_events(struct MHD_Connection *c, incoming *in)
{
    struct MHD_Response *r =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, PIECE, next_events, in, NULL);
    if (!r) return MHD_NO;
    MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, "text/event-stream");
    MHD_add_response_header(r, MHD_HTTP_HEADER_CACHE_CONTROL, "no-cache");
    enum MHD_Result done = MHD_queue_response(c, MHD_HTTP_OK, r);
    MHD_destroy_response(r);
    return done;
}

static enum MHD_Result compute(struct MHD_Connection *c, incoming *in)
{
    g4_desk *d = &in->http->served->desk;
    g4_job *j = &in->job;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
    j->socket = info ? (int)info->connect_fd : -1;
    if (!g4_desk_hand(d, j))
        return refuse(c, MHD_HTTP_SERVICE_UNAVAILABLE, "the server is ending", NULL);
    patience(c, 0);
    g4_desk_wait(d, j, !j->ask.stream);
    if (j->ask.stream && j->status == MHD_HTTP_OK) return queue_events(c, in);
    g4_desk_wait(d, j, 1);
    patience(c, TIMEOUT);
    if (!j->size) return refuse(c, j->status, "the server is ending", NULL);
    char *text = strndup(j->out, j->size);
    return queue_text(c, j->status, "application/json", text);
}

/* ---- addresses ---- */

static enum MHD_Result post(struct MHD_Connection *c, incoming *in, g4_ask_kind kind)
{
    g4_served *s = in->http->served;
    char field[64];
    g4_err err = { G4_OK, "" };
    g4_status st = g4_ask_parse(&in->job.ask, kind, &s->model, in->body ? in->body : "", in->size,
                                field, &err);
    if (st != G4_OK) return refuse(c, g4_error_status(st), err.msg, field);
    if (kind & (G4_ASK_COMPLETION | G4_ASK_CHAT)) return compute(c, in);
    char *text = g4_small_answer(s, &in->job.ask, &err);
    return text ? queue_text(c, MHD_HTTP_OK, "application/json", text)
                : refuse(c, g4_error_status(err.code), err.msg, NULL);
}

static char *health(g4_served *s)
{
    (void)s;
    return strdup("{\"status\":\"ok\"}");
}

static char *models(g4_served *s)
{
    return g4_model_list(s);
}

static char *tokenizer_info(g4_served *s)
{
    return g4_tokenizer_info(s);
}

static const struct address {
    const char *path;
    g4_ask_kind kind;              /* POST; 0: GET */
    char *(*get)(g4_served *s);
    const char *type;
} addresses[] = {
    { "/v1/completions", G4_ASK_COMPLETION, NULL, NULL },
    { "/v1/chat/completions", G4_ASK_CHAT, NULL, NULL },
    { "/tokenize", G4_ASK_TOKENIZE, NULL, NULL },
    { "/detokenize", G4_ASK_DETOKENIZE, NULL, NULL },
    { "/tokenizer_info", 0, tokenizer_info, "application/json" },
    { "/v1/models", 0, models, "application/json" },
    { "/health", 0, health, "application/json" },
    { "/metrics", 0, g4_metrics_text, "text/plain; version=0.0.4" },
};

static const struct address *find(const char *path)
{
    for (size_t i = 0; i < sizeof addresses / sizeof *addresses; i++)
        if (strcmp(addresses[i].path, path) == 0) return &addresses[i];
    return NULL;
}

static enum MHD_Result dispatch(struct MHD_Connection *c, incoming *in, const char *path,
                                const char *method)
{
    const struct address *a = find(path);
    int get = strcmp(method, MHD_HTTP_METHOD_GET) == 0 || strcmp(method, MHD_HTTP_METHOD_HEAD) == 0;
    if (!a) return refuse(c, MHD_HTTP_NOT_FOUND, "there is nothing at this address", NULL);
    if (a->get && get) return queue_text(c, MHD_HTTP_OK, a->type, a->get(in->http->served));
    if (a->get || strcmp(method, MHD_HTTP_METHOD_POST) != 0)
        return refuse(c, MHD_HTTP_METHOD_NOT_ALLOWED, a->get ? "only GET" : "only POST", NULL);
    return post(c, in, a->kind);
}

/* Is this (with or without a port) the host that we listen at, or this very machine? */
static int is_ours(const g4_http *h, const char *host)
{
    const char *const names[] = { h->host, "localhost", "127.0.0.1", "[::1]" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t n = strlen(names[i]);
        if (strncasecmp(host, names[i], n) == 0 && (!host[n] || host[n] == ':')) return 1;
    }
    return 0;
}

static int is_foreign(const g4_http *h, struct MHD_Connection *c)
{
    const char *host = MHD_lookup_connection_value(c, MHD_HEADER_KIND, MHD_HTTP_HEADER_HOST);
    const char *origin = MHD_lookup_connection_value(c, MHD_HEADER_KIND, MHD_HTTP_HEADER_ORIGIN);
    const char *slashes = origin ? strstr(origin, "://") : NULL;
    if (strcmp(h->host, "0.0.0.0") == 0 || strcmp(h->host, "[::]") == 0) host = NULL;
    return (host && !is_ours(h, host)) || (origin && !(slashes && is_ours(h, slashes + 3)));
}

/* ---- bodies ---- */

/* All connections' bodies together have a limit, too: a body that had `before` bytes of
 * room is to have `after`. */
static int hold(g4_http *h, size_t before, size_t after)
{
    g4_desk *d = &h->served->desk;
    pthread_mutex_lock(&d->mutex);
    int room = after <= HELD - (h->held - before);
    if (room) h->held = h->held - before + after;
    pthread_mutex_unlock(&d->mutex);
    return room;
}

static void add_body(incoming *in, const char *data, size_t n)
{
    if (!in->refused && n > in->most - in->size) in->refused = MHD_HTTP_CONTENT_TOO_LARGE;
    if (!in->refused && seconds() - in->since > DEADLINE) in->refused = MHD_HTTP_REQUEST_TIMEOUT;
    if (!in->refused && in->size + n > in->capacity) {
        size_t want = 2 * (in->size + n) + 1024;
        int room = hold(in->http, in->capacity, want);
        char *p = room ? realloc(in->body, want) : NULL;
        if (p) {
            in->body = p;
            in->capacity = want;
        } else {
            if (room) hold(in->http, want, in->capacity);
            in->refused = MHD_HTTP_SERVICE_UNAVAILABLE;
        }
    }
    if (in->refused) return;
    memcpy(in->body + in->size, data, n);
    in->size += n;
}

static incoming *begin(g4_http *h, struct MHD_Connection *c, const char *path)
{
    const struct address *a = find(path);
    incoming *in = calloc(1, sizeof *in);
    const char *length = MHD_lookup_connection_value(c, MHD_HEADER_KIND,
                                                     MHD_HTTP_HEADER_CONTENT_LENGTH);
    if (!in) return NULL;
    in->http = h;
    in->connection = c;
    in->job.socket = -1;
    in->job.state = G4_JOB_DONE;
    in->most = a && a->kind == G4_ASK_CHAT ? G4_ASK_MEDIA : G4_ASK_BODY;
    in->since = seconds();
    if (is_foreign(h, c)) in->refused = MHD_HTTP_FORBIDDEN;
    else if (length && strtoull(length, NULL, 10) > in->most)
        in->refused = MHD_HTTP_CONTENT_TOO_LARGE;
    return in;
}

static const char *why(int status)
{
    return status == MHD_HTTP_FORBIDDEN ? "a request for another host, or from another's page" :
           status == MHD_HTTP_CONTENT_TOO_LARGE ? "the request is too large" :
           status == MHD_HTTP_REQUEST_TIMEOUT ? "the request came too slowly" :
           "too many requests at once";
}

static enum MHD_Result on_request(void *ctx, struct MHD_Connection *c, const char *path,
                                  const char *method, const char *version, const char *data,
                                  size_t *size, void **state)
{
    incoming *in = *state;
    (void)version;
    if (!in) {
        in = *state = begin(ctx, c, path);
        if (!in) return MHD_NO;
        /* With "Expect: 100-continue" the body is not even sent. */
        return in->refused ? refuse(c, in->refused, why(in->refused), NULL) : MHD_YES;
    }
    if (*size) {
        add_body(in, data, *size);
        *size = 0;
        return MHD_YES;
    }
    if (in->refused) return refuse(c, in->refused, why(in->refused), NULL);
    return dispatch(c, in, path, method);
}

static void on_end(void *ctx, struct MHD_Connection *c, void **state,
                   enum MHD_RequestTerminationCode how)
{
    incoming *in = *state;
    (void)ctx;
    (void)c;
    (void)how;
    if (!in) return;
    if (in->job.socket >= 0) g4_desk_drop(&in->http->served->desk, &in->job);
    g4_ask_free(&in->job.ask);
    free(in->job.out);
    hold(in->http, in->capacity, 0);
    free(in->body);
    free(in);
    *state = NULL;
}

/* ---- listening ---- */

static void say_nothing(void *ctx, const char *format, va_list args)
{
    (void)ctx;
    (void)format;
    (void)args;
}

static g4_status listen_at(g4_http *h, const struct addrinfo *at, const char *host, int port,
                           g4_err *err)
{
    unsigned flags = MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD |
                     MHD_USE_ERROR_LOG | (at->ai_family == AF_INET6 ? MHD_USE_IPv6 : 0);
    errno = 0;
    h->daemon = MHD_start_daemon(
        flags, (uint16_t)port, NULL, NULL, on_request, h, MHD_OPTION_EXTERNAL_LOGGER, say_nothing,
        NULL, MHD_OPTION_SOCK_ADDR, at->ai_addr, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)TIMEOUT,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HEADERS, MHD_OPTION_NOTIFY_COMPLETED, on_end,
        NULL, MHD_OPTION_END);
    if (h->daemon) return G4_OK;
    return g4_fail(err, G4_EIO, "%s: cannot listen at port %d: %s", host, port,
                   errno ? strerror(errno) : "libmicrohttpd says no more");
}

g4_status g4_http_open(g4_http **out, g4_served *s, const char *host, int port, char **url,
                       g4_err *err)
{
    struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM,
                              .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE };
    struct addrinfo *at = NULL;
    char number[16];
    snprintf(number, sizeof number, "%d", port);
    if (strlen(host) > 50 || getaddrinfo(host, number, &hints, &at) != 0)
        return g4_fail(err, G4_EINPUT, "--host %.60s: not an address in numbers", host);
    g4_http *h = *out = calloc(1, sizeof *h);
    g4_status st = h ? G4_OK : g4_nomem(err, "serve");
    if (st == G4_OK) {
        h->served = s;
        snprintf(h->host, sizeof h->host, at->ai_family == AF_INET6 ? "[%s]" : "%s", host);
        st = listen_at(h, at, host, port, err);
    }
    freeaddrinfo(at);
    G4_TRY(st);
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_BIND_PORT);
    size_t room = strlen(h->host) + 32;
    *url = malloc(room);
    if (!*url) return g4_nomem(err, "serve");
    snprintf(*url, room, "http://%s:%d", h->host, info ? (int)info->port : port);
    return G4_OK;
}

void g4_http_close(g4_http *h)
{
    if (h && h->daemon) MHD_stop_daemon(h->daemon);
    free(h);
}
