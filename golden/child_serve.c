/* SPDX-License-Identifier: Apache-2.0
 * Everything here runs in the child; ref/base/child_jail.c confines it. */
#include "golden/child_serve.h"

#include "golden/h5.h"
#include "ref/base/child.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

typedef struct server {
    int fd;
    g4_h5_file file;
} server;

static g4_status put_frames(void *ctx, const void *data, size_t bytes, g4_err *err)
{
    const server *s = ctx;
    (void)err;
    if (bytes > 0) g4_child_send(s->fd, data, bytes);
    return G4_OK;
}

static uint8_t *put_u32(uint8_t *p, size_t v)
{
    for (int i = 0; i < 4; i++) *p++ = (uint8_t)(v >> (8 * i));
    return p;
}

/* Layout: child.c, parse_listing.  Lengths are bounded by h5_attrs.c. */
static g4_status send_listing(const server *s, g4_err *err)
{
    const g4_h5_file *h = &s->file;
    size_t size = 8 + h->set_count * sizeof *h->sets;
    for (size_t i = 0; i < h->attr_count; i++)
        size += 9 + strlen(h->attrs[i].name) + strlen(h->attrs[i].text);
    uint8_t *blob = malloc(size), *p = blob;
    if (!blob) return g4_nomem(err, h->path);
    p = put_u32(p, h->attr_count);
    p = put_u32(p, h->set_count);
    if (h->set_count) memcpy(p, h->sets, h->set_count * sizeof *h->sets);
    p += h->set_count * sizeof *h->sets;
    for (size_t i = 0; i < h->attr_count; i++) {
        const g4_golden_attr *a = &h->attrs[i];
        size_t name = strlen(a->name), text = strlen(a->text);
        p = put_u32(p, name);
        p = put_u32(p, text);
        *p++ = (uint8_t)a->is_number;
        memcpy(p, a->name, name);
        memcpy(p + name, a->text, text);
        p += name + text;
    }
    g4_child_send(s->fd, blob, size);
    free(blob);
    return G4_OK;
}

void g4_child_serve(int fd, void *path)
{
    server s = {fd, {0}};
    g4_err err = {G4_EINPUT, ""};
    uint64_t index;
    g4_status st = g4_h5_open(&s.file, path, &err);
    g4_child_seal();
    if (st == G4_OK) st = g4_h5_list(&s.file, &err);
    if (st == G4_OK) st = send_listing(&s, &err);
    if (st != G4_OK) g4_child_send_error(fd, &err);
    while (st == G4_OK && recv(fd, &index, sizeof index, MSG_WAITALL) == sizeof index) {
        if (index >= s.file.set_count) break;
        if (g4_h5_read(&s.file, &s.file.sets[index], put_frames, &s, &err) != G4_OK)
            g4_child_send_error(fd, &err);
    }
}
