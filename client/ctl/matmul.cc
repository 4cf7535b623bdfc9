#include "client/ctl/matmul.h"

#include <algorithm>
#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "client/ctl/matmul.cc"
#include "hwy/foreach_target.h"  // compiles the part below for every target
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace kvcompd::client::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// y[0..n) += a * x[0..n), and for four rows at once below. Products are rounded before they are added.
void AddScaled(float a, const float* HWY_RESTRICT x, size_t n, float* HWY_RESTRICT y) {
  const hn::ScalableTag<float> d;
  const auto scale = hn::Set(d, a);
  size_t i = 0;
  for (; i + hn::Lanes(d) <= n; i += hn::Lanes(d)) {
    hn::StoreU(hn::Add(hn::LoadU(d, y + i), hn::Mul(scale, hn::LoadU(d, x + i))), d, y + i);
  }
  for (; i < n; ++i) y[i] += a * x[i];
}

// Four rows by two vectors of columns, in registers over all of `in`.
template <size_t kRows>
void Block(const float* x, const float* w, size_t in, size_t out, size_t column, float* y) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  hn::Vec<decltype(d)> sums[kRows][2];
  for (size_t r = 0; r < kRows; ++r) sums[r][0] = sums[r][1] = hn::Zero(d);
  for (size_t i = 0; i < in; ++i) {
    const auto w0 = hn::LoadU(d, w + i * out + column), w1 = hn::LoadU(d, w + i * out + column + lanes);
    for (size_t r = 0; r < kRows; ++r) {
      const auto value = hn::Set(d, x[r * in + i]);
      sums[r][0] = hn::Add(sums[r][0], hn::Mul(value, w0));
      sums[r][1] = hn::Add(sums[r][1], hn::Mul(value, w1));
    }
  }
  for (size_t r = 0; r < kRows; ++r) {
    hn::StoreU(sums[r][0], d, y + r * out + column);
    hn::StoreU(sums[r][1], d, y + r * out + column + lanes);
  }
}

void MatMulSimd(const float* x, const float* w, size_t rows, size_t in, size_t out, float* y) {
  const size_t wide = 2 * hn::Lanes(hn::ScalableTag<float>());
  size_t column = 0;
  for (; column + wide <= out; column += wide) {
    size_t r = 0;
    for (; r + 4 <= rows; r += 4) Block<4>(x + r * in, w, in, out, column, y + r * out);
    for (; r < rows; ++r) Block<1>(x + r * in, w, in, out, column, y + r * out);
  }
  for (size_t r = 0; r < rows; ++r) {
    for (size_t o = column; o < out; ++o) {
      float sum = 0;
      for (size_t i = 0; i < in; ++i) sum += x[r * in + i] * w[i * out + o];
      y[r * out + o] = sum;
    }
  }
}

void AttendOnceSimd(const float* q, const float* k, const float* v, size_t keys, size_t stride, size_t dim,
                    float* weights, float* out) {
  std::fill_n(weights, keys, 0.0f);
  const float scale = 1.0f / std::sqrt(static_cast<float>(dim));
  for (size_t c = 0; c < dim; ++c) AddScaled(q[c] * scale, k + c * stride, keys, weights);
  const float top = *std::max_element(weights, weights + keys);
  double sum = 0;
  for (size_t t = 0; t < keys; ++t) sum += weights[t] = std::exp(weights[t] - top);
  const auto inverse = static_cast<float>(1 / sum);
  std::fill_n(out, dim, 0.0f);
  for (size_t t = 0; t < keys; ++t) AddScaled(weights[t] * inverse, v + t * dim, dim, out);
}

}  // namespace kvcompd::client::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvcompd::client {

HWY_EXPORT(MatMulSimd);
HWY_EXPORT(AttendOnceSimd);

void MatMul(const float* x, const float* w, size_t rows, size_t in, size_t out, float* y) {
  HWY_DYNAMIC_DISPATCH(MatMulSimd)(x, w, rows, in, out, y);
}

void AttendOnce(const float* q, const float* k, const float* v, size_t keys, size_t stride, size_t dim,
                float* weights, float* out) {
  HWY_DYNAMIC_DISPATCH(AttendOnceSimd)(q, k, v, keys, stride, dim, weights, out);
}

}  // namespace kvcompd::client
#endif  // HWY_ONCE
