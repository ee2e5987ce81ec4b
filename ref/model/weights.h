/* SPDX-License-Identifier: Apache-2.0
 * A loaded checkpoint: backbone or drafter.  Opening binds every tensor of
 * weights.def once, dtype and shape checked against the config; nobody searches
 * by name afterwards.  Immutable and shareable between sessions.  The big
 * matrices stay where the file has them (mapped); norms, biases and scalars,
 * 3 MB for the 12B, are widened to float32. */
#ifndef G4_MODEL_WEIGHTS_H
#define G4_MODEL_WEIGHTS_H

#include "ref/base/par.h"
#include "ref/dtype/mat.h"
#include "ref/file/store.h"
#include "ref/model/config.h"

struct g4_ops;

typedef struct g4_layer {
    int kind;                          /* G4_SLIDING or G4_FULL */
    const float *input_layernorm, *post_attention_layernorm;              /* [D] */
    const float *pre_feedforward_layernorm, *post_feedforward_layernorm;  /* [D] */
    const float *q_norm, *k_norm;      /* [H] */
    g4_mat q_proj;                     /* [N*H][D] */
    g4_mat k_proj, v_proj;             /* [K*H][D]; v_proj.data NULL: V comes from k_proj */
    g4_mat o_proj;                     /* [D][N*H] */
    g4_mat gate_proj, up_proj;         /* [F][D] */
    g4_mat down_proj;                  /* [D][F] */
    const float *layer_scalar;         /* [1] */
} g4_layer;

typedef struct g4_model {
    g4_config config;
    g4_generation generation;
    g4_mat embed_tokens;               /* [V][D], also the output head */
    const float *norm;                 /* [D] */
    g4_layer *layers;                  /* [L] */
    /* vision; E mm_embed_dim */
    const float *patch_ln1_weight, *patch_ln1_bias;   /* [P] */
    g4_mat patch_dense;                /* [E][P] */
    const float *patch_dense_bias, *patch_ln2_weight, *patch_ln2_bias;    /* [E] */
    g4_mat pos_embedding;              /* [posemb * 2][E]: row 2x for x, 2y + 1 for y */
    const float *pos_norm_weight, *pos_norm_bias;     /* [E] */
    g4_mat vision_projection;          /* [D][E] */
    g4_mat audio_projection;           /* [D][A] */
    /* drafter; Db backbone_hidden_size */
    g4_mat pre_projection;             /* [D][2*Db] */
    g4_mat post_projection;            /* [Db][D] */
    g4_mat centroids;                  /* [num_centroids][D] */
    const int32_t *token_ordering;     /* [V] a permutation of the vocabulary */
    const float *inv_freq[2];          /* [H/2] for sliding, full layers */
    g4_store *store;
    g4_arena arena;
    const char *dir;
    void *panels;                      /* what g4_model_pack wrote, or NULL */
} g4_model;

/* dir: a checkpoint folder.  Errors name the file, the tensor and both shapes. */
g4_status g4_model_open(g4_model **model, const char *dir, g4_err *err);
void g4_model_close(g4_model *m);

/* Starts reading layer l's matrices, or with l = L the output matrix, where they
 * are not in memory: called one layer ahead, so that a model larger than the
 * memory streams through it in order. */
void g4_model_prefetch(const g4_model *m, int64_t l);

/* Writes every matrix that ops has a faster form of in that form (panels.c), into memory of
 * its own, and lets go of the file's pages.  Before any engine is opened on the model. */
g4_status g4_model_pack(g4_model *m, const struct g4_ops *ops, g4_par *par, g4_err *err);
/* Bytes that it takes; *file (or NULL): bytes of the file that are let go. */
uint64_t g4_model_pack_bytes(const g4_model *m, const struct g4_ops *ops, uint64_t *file);

/* Can this drafter draft for this backbone?  G4_EINPUT says what does not fit. */
g4_status g4_model_check_pair(const g4_model *backbone, const g4_model *drafter, g4_err *err);

/* What weights.def asks for, one call a tensor: for synth, info and tests. */
typedef enum g4_weight_role {
    G4_ROLE_LINEAR, G4_ROLE_TABLE, G4_ROLE_NORM, G4_ROLE_BIAS, G4_ROLE_SCALAR, G4_ROLE_ORDER
} g4_weight_role;

typedef struct g4_weight_spec {
    g4_weight_role role;
    const char *name, *alt;            /* full names; alt NULL: none */
    int rank;
    int64_t shape[3];
} g4_weight_spec;

/* The tensor of the first name, else of the other (NULL: there is none); NULL: not there. */
const g4_tensor *g4_weight_find(const g4_store *s, const char *name, const char *alt);

typedef g4_status g4_weight_visitor(void *ctx, const g4_weight_spec *spec, void *slot,
                                    g4_err *err);

/* slot points at the field of m that the tensor goes to; with m->layers NULL (a
 * model that holds only a config) slots are NULL. */
g4_status g4_weights_visit(g4_model *m, g4_weight_visitor *visit, void *ctx, g4_err *err);

#endif
