// Encode and decode speed of codec kvcomp on one core, in bytes of uncompressed values. The values are
// synthetic (tests/codec/kv_samples.h): compare backends and versions with it, not models. One group of 8
// heads, 64 tokens and 128 channels is 128 KiB: figures are cache-resident.
#include <cstdint>
#include <string>
#include <vector>

#include "benchmark/benchmark.h"
#include "codec/codec.h"
#include "tests/codec/group_coding.h"
#include "tests/codec/kv_samples.h"

namespace kvcompd::codec {
namespace {

struct Setup {
  GroupShape shape;
  Profile profile;
};

// state.range(0): 0 K by block, 1 K by channel, 2 V. state.range(1): the dtype's number.
Setup SetupOf(const benchmark::State& state) {
  Setup s;
  s.shape = {static_cast<DType>(state.range(1)), state.range(0) == 2 ? Tensor::kV : Tensor::kK, 8, 64, 128};
  s.profile = {.codec = CodecId::kKvcomp,
               .rel_k = state.range(0) == 1 ? 0.25 : 0.05,
               .rel_v = 0.1,
               .k_unit = state.range(0) == 1 ? KUnit::kChannel : KUnit::kBlock};
  return s;
}

std::string Values(const GroupShape& shape) {
  return kvcompd::testing::SyntheticKv(shape.dtype, shape.tensor, shape.heads, shape.tokens, shape.channels,
                                       1);
}

void BM_KvcompEncode(benchmark::State& state) {
  const auto [shape, profile] = SetupOf(state);
  const Codec& codec = *FindCodec(CodecId::kKvcomp);
  const std::string values = Values(shape);
  std::vector<std::byte> header(codec.GroupHeaderBound(shape)), payload(values.size());
  std::vector<GroupOutput::Tile> tiles(shape.heads);
  GroupOutput out{.header = header, .payload = payload, .payload_stride = shape.tile_bytes(), .tiles = tiles};
  Workspace ws;
  const EncodeParams params{.profile = profile};
  EncodeStats stats;
  for (auto _ : state) {
    const auto status = codec.EncodeGroup(shape, AsBytes(values).data(), shape.tile_bytes(), params,
                                          ws.Get(codec.WorkspaceBytes(shape)), &out, &stats);
    if (!status.ok()) state.SkipWithError("encode failed");
    benchmark::DoNotOptimize(payload.data());
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * values.size()));
  state.counters["ratio"] = static_cast<double>(stats.raw_bytes) / static_cast<double>(stats.payload_bytes);
}

void BM_KvcompDecode(benchmark::State& state) {
  const auto [shape, profile] = SetupOf(state);
  const Codec& codec = *FindCodec(CodecId::kKvcomp);
  const auto group = kvcompd::testing::EncodeGroup(codec, shape, Values(shape), {.profile = profile});
  if (!group.ok()) return state.SkipWithError("encode failed");
  std::vector<std::byte> values(shape.tile_bytes());
  Workspace ws;
  for (auto _ : state) {
    for (uint32_t h = 0; h < shape.heads; ++h) {
      const auto status =
          codec.DecodeTile(shape, AsBytes(group->header), group->modes[h], AsBytes(group->payloads[h]),
                           nullptr, ws.Get(codec.WorkspaceBytes(shape)), values);
      if (!status.ok()) state.SkipWithError("decode failed");
      benchmark::DoNotOptimize(values.data());
    }
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * shape.heads * shape.tile_bytes()));
}

void Cases(benchmark::internal::Benchmark* b) {
  b->ArgNames({"unit", "dtype"});
  for (int unit = 0; unit < 3; ++unit) {
    for (const DType dtype : {DType::kBf16, DType::kFp16, DType::kFp8E4m3})
      b->Args({unit, static_cast<int>(dtype)});
  }
}

BENCHMARK(BM_KvcompEncode)->Apply(Cases);
BENCHMARK(BM_KvcompDecode)->Apply(Cases);

}  // namespace
}  // namespace kvcompd::codec

BENCHMARK_MAIN();
