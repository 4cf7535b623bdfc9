// Encode and decode speed of codec lossless on one core, in bytes of uncompressed values, checksums included:
// whole segments of 8 heads, 64 tokens and 128 channels (128 KiB of bf16). "cache": one segment again and
// again; "memory": a new one each time, of more than twice the last-level cache together. Baselines in the
// same run: memcpy, and memcpy with the CRC of what it copied. The values are synthetic
// (tests/codec/kv_samples.h).
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "benchmark/benchmark.h"
#include "codec/base/crc32c.h"
#include "codec/base/profile.h"
#include "codec/codec.h"
#include "codec/segment.h"
#include "tests/codec/kv_samples.h"

namespace kvcompd::codec {
namespace {

constexpr uint64_t kSegmentBytes = 8 * 64 * 128 * 2;
constexpr uint64_t kMemoryResidentBytes = 96 << 20;

enum Resident : int64_t { kCache, kMemory };

// state.range(0): Resident.
uint64_t Copies(const benchmark::State& state) {
  return state.range(0) == kCache ? 1 : kMemoryResidentBytes / kSegmentBytes;
}

SegmentPlace Place(Tensor tensor) {
  SegmentPlace place;
  place.key = BlockKey::FromBytes("a key of 16 bytes").value();
  place.tensor = tensor;
  return place;
}

SegmentShape Shape(const benchmark::State& state) {
  SegmentShape shape;
  shape.dtype = static_cast<DType>(state.range(3));
  shape.tensor = static_cast<Tensor>(state.range(1));
  shape.heads = 8;
  shape.tokens = 64;
  shape.channels = 128;
  return shape;
}

Profile ProfileOf(const benchmark::State& state) {
  Profile profile = Profile::Of(CodecId::kLossless);
  profile.mode = static_cast<LosslessMode>(state.range(2));
  return profile;
}

std::string Values(const SegmentShape& shape) {
  return kvcompd::testing::SyntheticKv(shape.dtype, shape.tensor, shape.heads, shape.tokens, shape.channels,
                                       1);
}

void BM_LosslessEncode(benchmark::State& state) {
  const SegmentShape shape = Shape(state);
  const Codec& codec = *FindCodec(CodecId::kLossless);
  const std::string one = Values(shape);
  std::string values;
  for (uint64_t i = 0; i < Copies(state); ++i) values += one;
  const uint64_t bound = SegmentBound(shape, codec);
  std::vector<std::byte> out(bound * Copies(state));
  Workspace ws;
  EncodeStats stats;
  const EncodeParams params{.profile = ProfileOf(state)};
  uint64_t i = 0;
  for (auto _ : state) {
    const auto bytes =
        EncodeSegment(codec, Place(shape.tensor), shape, AsBytes(values).subspan(i * one.size(), one.size()),
                      params, &ws, MutableByteSpan(out).subspan(i * bound, bound), &stats);
    if (!bytes.ok()) state.SkipWithError("encode failed");
    i = i + 1 == Copies(state) ? 0 : i + 1;
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * one.size()));
  state.counters["ratio"] = static_cast<double>(stats.raw_bytes) / static_cast<double>(stats.payload_bytes);
}

void BM_LosslessDecode(benchmark::State& state) {
  const SegmentShape shape = Shape(state);
  const Codec& codec = *FindCodec(CodecId::kLossless);
  std::vector<std::byte> encoded(SegmentBound(shape, codec));
  Workspace ws;
  const auto bytes = EncodeSegment(codec, Place(shape.tensor), shape, AsBytes(Values(shape)),
                                   {.profile = ProfileOf(state)}, &ws, encoded, nullptr);
  if (!bytes.ok()) return state.SkipWithError("encode failed");
  std::vector<std::byte> segments;
  for (uint64_t i = 0; i < Copies(state); ++i) {
    segments.insert(segments.end(), encoded.begin(), encoded.begin() + static_cast<int64_t>(*bytes));
  }
  std::vector<std::byte> values(shape.raw_bytes() * Copies(state));
  uint64_t i = 0;
  for (auto _ : state) {
    const auto view = SegmentView::Parse(ByteSpan(segments).subspan(i * *bytes, *bytes));
    const auto out = MutableByteSpan(values).subspan(i * shape.raw_bytes(), shape.raw_bytes());
    if (!view.ok() || !view->Decode(Place(shape.tensor), 0, shape.heads, nullptr, &ws, out).ok()) {
      state.SkipWithError("decode failed");
    }
    i = i + 1 == Copies(state) ? 0 : i + 1;
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * shape.raw_bytes()));
}

// state.range(1): whether with the CRC.
void BM_Memcpy(benchmark::State& state) {
  std::vector<std::byte> from(kSegmentBytes * Copies(state), std::byte{7}), to(from.size());
  uint64_t i = 0;
  for (auto _ : state) {
    std::memcpy(to.data() + i * kSegmentBytes, from.data() + i * kSegmentBytes, kSegmentBytes);
    if (state.range(1) != 0) {
      benchmark::DoNotOptimize(Crc32c(ByteSpan(to).subspan(i * kSegmentBytes, kSegmentBytes)));
    }
    benchmark::ClobberMemory();
    i = i + 1 == Copies(state) ? 0 : i + 1;
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * kSegmentBytes));
}

void Cases(benchmark::internal::Benchmark* b) {
  b->ArgNames({"memory", "tensor", "mode", "dtype"});
  for (const int64_t resident : {kCache, kMemory}) {
    for (const int64_t tensor : {1, 2}) {
      for (const LosslessMode mode : {LosslessMode::kFast, LosslessMode::kDense}) {
        for (const DType dtype : {DType::kBf16, DType::kFp16, DType::kFp8E4m3}) {
          b->Args({resident, tensor, static_cast<int64_t>(mode), static_cast<int64_t>(dtype)});
        }
      }
    }
  }
}

BENCHMARK(BM_Memcpy)->ArgNames({"memory", "crc"})->ArgsProduct({{kCache, kMemory}, {0, 1}});
BENCHMARK(BM_LosslessDecode)->Apply(Cases);
BENCHMARK(BM_LosslessEncode)->Apply(Cases);

}  // namespace
}  // namespace kvcompd::codec

BENCHMARK_MAIN();
