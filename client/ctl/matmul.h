// The two inner loops of llama_model.cc, for every instruction set that the machine may have. float32; sums
// go in the order of their terms, so the results are the same on all of them.
//
// Pure functions; any thread.
//
//   MatMul(x, w_transposed, rows, in, out, y);      // y[rows, out] = x[rows, in] w^T
#ifndef KVCOMPD_CLIENT_CTL_MATMUL_H_
#define KVCOMPD_CLIENT_CTL_MATMUL_H_

#include <cstddef>

namespace kvcompd::client {

// w: [in, out].
void MatMul(const float* x, const float* w, size_t rows, size_t in, size_t out, float* y);

// softmax(q k / sqrt(dim)) v over the first `keys` tokens. k: [dim, stride]; v: [keys, dim]; weights: room
// for keys.
void AttendOnce(const float* q, const float* k, const float* v, size_t keys, size_t stride, size_t dim,
                float* weights, float* out);

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_CTL_MATMUL_H_
