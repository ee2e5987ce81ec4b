/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/check/serve_client.h"

#include "harness/check/program.h"
#include "harness/check/suite.h"

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

pid_t serve_pid;
char serve_body[SERVE_BODY];
static int port;

/* ---- a server ---- */

void serve_start(const char *model)
{
    char line[200], *argv[PROGRAM_WORDS];
    static char space[PROGRAM_WORDS][TEMPDIR_MAX];
    const program_place none[] = { { NULL, NULL } };
    int out[2];
    size_t n = 0;
    char url[100] = "";
    snprintf(line, sizeof line, "serve --model %s --port 0 --threads 1", model);
    program_split(line, none, argv, space);
    ck_assert_int_eq(pipe(out), 0);
    serve_pid = program_start(argv, out[1], 2, RLIM_INFINITY);
    close(out[1]);
    for (ssize_t got; n < sizeof url - 1 && !strchr(url, '\n'); n += (size_t)got)
        if ((got = read(out[0], url + n, sizeof url - 1 - n)) <= 0) break;
    close(out[0]);
    const char *colon = strrchr(url, ':');
    port = colon ? atoi(colon + 1) : 0;
}

void serve_stop(void)
{
    kill(serve_pid, SIGTERM);
    int code = program_finish(serve_pid);
    if (port) ck_assert_int_eq(code, 0);
}

int serve_runnable(void)
{
    if (port) return 1;
    check_skip("serve", "this machine cannot execute gemma4 (foreign architecture?)");
    return 0;
}

/* ---- a client ---- */

int serve_dial(void)
{
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0), now = 1;
    ck_assert_int_ge(fd, 0);
    /* Else a body waits 40 ms until its head is acknowledged. */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &now, sizeof now);
    ck_assert_msg(connect(fd, (struct sockaddr *)&to, sizeof to) == 0, "%s", strerror(errno));
    return fd;
}

void serve_put(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t n = send(fd, data, size, MSG_NOSIGNAL);
        if (n <= 0) return;   /* refused before it was whole */
        data += n;
        size -= (size_t)n;
    }
}

void serve_ask(int fd, const char *method, const char *path, const char *headers,
               const char *data, size_t size)
{
    char head[512];
    snprintf(head, sizeof head, "%s %s HTTP/1.0\r\nContent-Length: %zu\r\n%s\r\n", method, path,
             size, headers);
    serve_put(fd, head, strlen(head));
    serve_put(fd, data, size);
}

int serve_hear(int fd)
{
    size_t n = 0;
    for (ssize_t got; n < sizeof serve_body - 1; n += (size_t)got)
        if ((got = recv(fd, serve_body + n, sizeof serve_body - 1 - n, 0)) <= 0) break;
    close(fd);
    serve_body[n] = 0;
    char *end = strstr(serve_body, "\r\n\r\n");
    if (strncmp(serve_body, "HTTP/1.", 7) != 0 || !end) return -1;
    int status = atoi(serve_body + 9);
    size_t size = n - (size_t)(end + 4 - serve_body);
    memmove(serve_body, end + 4, size + 1);
    return status;
}

int serve_request(const char *method, const char *path, const char *headers, const char *data,
                  size_t size)
{
    int fd = serve_dial();
    serve_ask(fd, method, path, headers, data, size);
    return serve_hear(fd);
}

int serve_post(const char *path, const char *data)
{
    return serve_request("POST", path, "", data, strlen(data));
}

json_t *serve_answer(const char *path, const char *data)
{
    json_error_t e;
    int status = serve_post(path, data);
    ck_assert_msg(status == 200, "%d: %.300s", status, serve_body);
    json_t *j = json_loads(serve_body, 0, &e);
    ck_assert_msg(j != NULL, "%s: %.300s", e.text, serve_body);
    return j;
}

json_t *serve_at(json_t *j, const char *path)
{
    char copy[200];
    snprintf(copy, sizeof copy, "%s", path);
    for (char *w = strtok(copy, "."); w && j; w = strtok(NULL, "."))
        j = *w >= '0' && *w <= '9' ? json_array_get(j, (size_t)atoi(w)) : json_object_get(j, w);
    ck_assert_msg(j != NULL, "the answer lacks %s", path);
    return j;
}

const char *serve_text(json_t *j, const char *path)
{
    return json_string_value(serve_at(j, path));
}

void serve_join(char *out, size_t size, const char *member)
{
    size_t n = 0;
    char *line = serve_body, *next;
    int done = 0;
    out[0] = 0;
    for (; *line; line = next) {
        next = strstr(line, "\n\n");
        ck_assert_ptr_nonnull(next);
        *next = 0;
        next += 2;
        ck_assert_msg(strncmp(line, "data: ", 6) == 0 && !done, "%s", line);
        done = strcmp(line, "data: [DONE]") == 0;
        json_t *j = done ? NULL : json_loads(line + 6, 0, NULL);
        json_t *choice = json_array_get(json_object_get(j, "choices"), 0);
        json_t *delta = json_object_get(choice, "delta");
        const char *s = json_string_value(json_object_get(delta ? delta : choice, member));
        if (s) n += (size_t)snprintf(out + n, size - n, "%s", s);
        json_decref(j);
    }
    ck_assert(done);
}
