// Encode and decode speed of codec kvcomp, in bytes of uncompressed values and with all checksums: whole
// segments of 256 tokens, as a store writes and reads them, with trained codebooks. zstd -3 over the same
// bytes, memcpy and CRC32C stand beside it in the same run. One core, but for the cases that name threads.
//
//   KVCOMPD_DATA=FOLDER kvcomp_codec_bench --benchmark_repetitions=7 --benchmark_report_aggregates_only=true
//       --benchmark_enable_random_interleaving=true
//
// The values are the *.kv.bf16.npy of KVCOMPD_DATA, else those of tests/data. Cases "cache" go over one layer
// again and again (at most 1 MiB); cases "memory" over copies of all layers, 96 MiB together, into buffers of
// their own, so that neither input nor output is in a cache of 32 MiB. KVCOMPD_SIMD names an instruction set
// (scalar, sse4, avx2, avx512, avx512_dl) instead of the best one.
#include <zstd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "benchmark/benchmark.h"
#include "client/kv_file.h"
#include "codec/base/crc32c.h"
#include "codec/base/profile.h"
#include "codec/codebook.h"
#include "codec/segment.h"
#include "codec/simd/targets.h"
#include "tests/bench/fail.h"

namespace kvcompd::codec {
namespace {

constexpr uint32_t kBlockTokens = 256;
constexpr uint64_t kMemoryBytes = uint64_t{96} << 20;
constexpr uint64_t kCacheBytes = uint64_t{1} << 20;

const char* const kProfiles[] = {
    "kvcomp:rel_k=0.05,rel_v=0.05",
    "kvcomp:rel_k=0.05,rel_v=0.1",
    "kvcomp:rel_k=0.1,rel_v=0.2",
    "kvcomp:rel_k=0.2,rel_v=0.2,k_unit=channel",
    "kvcomp:rel_k=0.1,rel_v=0.2,v_unit=block,coder=rans",
};

// Values of one layer's K or V of a block.
struct Input {
  SegmentPlace place;
  SegmentShape shape;
  const std::byte* values = nullptr;

  ByteSpan bytes() const { return {values, shape.raw_bytes()}; }
};

struct Inputs {
  std::vector<std::unique_ptr<std::byte[]>> memory;
  std::vector<Input> segments;
  uint64_t bytes = 0;
};

void Append(const client::KvFile& file, uint64_t limit, Inputs* out) {
  const uint32_t tokens = std::min(file.tokens, kBlockTokens);
  for (uint32_t layer = 0; layer < file.layers; ++layer) {
    for (const Tensor tensor : {Tensor::kK, Tensor::kV}) {
      Input in;
      in.place = {.key = *BlockKey::FromBytes("0123456789abcdef"), .layer = layer, .tensor = tensor};
      in.shape = {file.dtype, tensor, 0, file.kv_heads, tokens, file.head_dim};
      if (out->bytes + in.shape.raw_bytes() > limit) return;
      out->memory.push_back(std::make_unique<std::byte[]>(in.shape.raw_bytes()));
      std::byte* const values = out->memory.back().get();
      if (!file.CopyTokens(layer, tensor, 0, tokens, {values, in.shape.raw_bytes()}).ok()) std::abort();
      in.values = values;
      out->bytes += in.shape.raw_bytes();
      out->segments.push_back(in);
    }
  }
}

const Inputs& InputsOf(bool memory_resident) {
  static const auto* const all = [] {
    const char* const named = std::getenv("KVCOMPD_DATA");
    const std::string folder = named != nullptr ? named : "tests/data";
    auto* const inputs = new Inputs[2];
    const auto files = client::FindKvFiles(folder);
    std::vector<client::KvFile> loaded;
    for (const auto& name : files.ok() ? *files : std::vector<client::KvFileName>()) {
      if (name.dtype != DType::kBf16) continue;
      auto file = client::LoadKvFile(name.stem, name.dtype);
      if (file.ok() && file->head_dim >= kMinHeadDim && file->tokens >= kTileTokens) {
        loaded.push_back(*std::move(file));
      }
    }
    if (!loaded.empty()) Append(loaded.front(), kCacheBytes, &inputs[0]);
    for (uint64_t before = 1; !loaded.empty() && before != inputs[1].bytes;) {
      before = inputs[1].bytes;
      for (const client::KvFile& file : loaded) Append(file, kMemoryBytes, &inputs[1]);
    }
    return inputs;
  }();
  return all[memory_resident];
}

const CodebookSet& TrainedSet(const Profile& profile) {
  static auto* const sets = new std::map<std::string, std::shared_ptr<const CodebookSet>>;
  auto& set = (*sets)[profile.Text()];
  if (set != nullptr) return *set;
  CodebookTrainer trainer({}, profile);
  Workspace ws;
  const Codec& codec = *FindCodec(profile.codec);
  for (const Input& in : InputsOf(false).segments) {
    std::vector<std::byte> out(SegmentBound(in.shape, codec));
    std::vector<uint32_t> histogram(kMaxSymbols);
    EncodeStats stats;
    stats.histogram = &histogram;
    const EncodeParams params{.profile = profile};
    if (!EncodeSegment(codec, in.place, in.shape, in.bytes(), params, &ws, out, &stats).ok()) std::abort();
    trainer.Add(in.place.layer, in.place.tensor, histogram);
  }
  set = trainer.Build();
  return *set;
}

Profile ProfileOf(const benchmark::State& state) { return *Profile::Parse(kProfiles[state.range(0)]); }

void SetFigures(benchmark::State& state, uint64_t bytes, uint64_t stored) {
  state.SetBytesProcessed(static_cast<int64_t>(bytes));
  if (stored != 0) state.counters["ratio"] = static_cast<double>(bytes) / static_cast<double>(stored);
}

// One step of a benchmark takes one segment; the segments take turns.
void BM_KvcompEncode(benchmark::State& state) {
  const Inputs& inputs = InputsOf(state.range(1) != 0);
  if (inputs.segments.empty()) return kvcompd::testing::Fail(state, "no samples");
  const Profile profile = ProfileOf(state);
  const Codec& codec = *FindCodec(profile.codec);
  const CodebookSet& set = TrainedSet(profile);
  std::vector<std::vector<std::byte>> out(inputs.segments.size());
  for (size_t i = 0; i < out.size(); ++i) out[i].resize(SegmentBound(inputs.segments[i].shape, codec));
  Workspace ws;
  uint64_t bytes = 0, stored = 0;
  size_t next = 0;
  for (auto _ : state) {
    const Input& in = inputs.segments[next];
    const EncodeParams params{.profile = profile, .book = set.Find(in.place.layer, in.place.tensor)};
    const auto n = EncodeSegment(codec, in.place, in.shape, in.bytes(), params, &ws, out[next], nullptr);
    if (!n.ok()) return kvcompd::testing::Fail(state, "encode failed");
    bytes += in.shape.raw_bytes();
    stored += *n;
    next = next + 1 == out.size() ? 0 : next + 1;
  }
  SetFigures(state, bytes, stored);
}

void BM_KvcompDecode(benchmark::State& state) {
  const Inputs& inputs = InputsOf(state.range(1) != 0);
  if (inputs.segments.empty()) return kvcompd::testing::Fail(state, "no samples");
  const Profile profile = ProfileOf(state);
  const Codec& codec = *FindCodec(profile.codec);
  const CodebookSet& set = TrainedSet(profile);
  Workspace ws;
  std::vector<std::vector<std::byte>> encoded, values;
  for (const Input& in : inputs.segments) {
    std::vector<std::byte> out(SegmentBound(in.shape, codec));
    const EncodeParams params{.profile = profile, .book = set.Find(in.place.layer, in.place.tensor)};
    const auto n = EncodeSegment(codec, in.place, in.shape, in.bytes(), params, &ws, out, nullptr);
    if (!n.ok()) return kvcompd::testing::Fail(state, "encode failed");
    encoded.emplace_back(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(*n));
    values.emplace_back(in.shape.raw_bytes());
  }
  uint64_t bytes = 0, stored = 0;
  size_t next = 0;
  for (auto _ : state) {
    const Input& in = inputs.segments[next];
    const auto view = SegmentView::Parse(encoded[next]);
    if (!view.ok() || !view->Decode(in.place, 0, in.shape.heads, set.Find(in.place.layer, in.place.tensor),
                                    &ws, values[next])
                           .ok()) {
      return kvcompd::testing::Fail(state, "decode failed");
    }
    bytes += in.shape.raw_bytes();
    stored += encoded[next].size();
    next = next + 1 == encoded.size() ? 0 : next + 1;
  }
  SetFigures(state, bytes, stored);
}

void BM_ZstdEncode(benchmark::State& state) {
  const Inputs& inputs = InputsOf(state.range(0) != 0);
  if (inputs.segments.empty()) return kvcompd::testing::Fail(state, "no samples");
  const std::unique_ptr<ZSTD_CCtx, size_t (*)(ZSTD_CCtx*)> context(ZSTD_createCCtx(), ZSTD_freeCCtx);
  std::vector<std::vector<std::byte>> out(inputs.segments.size());
  for (size_t i = 0; i < out.size(); ++i) {
    out[i].resize(ZSTD_compressBound(inputs.segments[i].shape.raw_bytes()));
  }
  uint64_t bytes = 0, stored = 0;
  size_t next = 0;
  for (auto _ : state) {
    const ByteSpan in = inputs.segments[next].bytes();
    const size_t n =
        ZSTD_compressCCtx(context.get(), out[next].data(), out[next].size(), in.data(), in.size(), 3);
    if (ZSTD_isError(n)) return kvcompd::testing::Fail(state, "encode failed");
    bytes += in.size();
    stored += n;
    next = next + 1 == out.size() ? 0 : next + 1;
  }
  SetFigures(state, bytes, stored);
}

void BM_ZstdDecode(benchmark::State& state) {
  const Inputs& inputs = InputsOf(state.range(0) != 0);
  if (inputs.segments.empty()) return kvcompd::testing::Fail(state, "no samples");
  const std::unique_ptr<ZSTD_DCtx, size_t (*)(ZSTD_DCtx*)> context(ZSTD_createDCtx(), ZSTD_freeDCtx);
  std::vector<std::vector<std::byte>> encoded, values;
  for (const Input& in : inputs.segments) {
    std::vector<std::byte> out(ZSTD_compressBound(in.shape.raw_bytes()));
    out.resize(ZSTD_compress(out.data(), out.size(), in.values, in.shape.raw_bytes(), 3));
    encoded.push_back(out);
    values.emplace_back(in.shape.raw_bytes());
  }
  uint64_t bytes = 0, stored = 0;
  size_t next = 0;
  for (auto _ : state) {
    const size_t n = ZSTD_decompressDCtx(context.get(), values[next].data(), values[next].size(),
                                         encoded[next].data(), encoded[next].size());
    if (n != values[next].size()) return kvcompd::testing::Fail(state, "decode failed");
    bytes += n;
    stored += encoded[next].size();
    next = next + 1 == encoded.size() ? 0 : next + 1;
  }
  SetFigures(state, bytes, stored);
}

// Copies each segment's values and takes the CRC32C of the copy: what reading raw segments amounts to.
void BM_Copy(benchmark::State& state) {
  const Inputs& inputs = InputsOf(state.range(0) != 0);
  const bool with_crc = state.range(1) != 0;
  if (inputs.segments.empty()) return kvcompd::testing::Fail(state, "no samples");
  std::vector<std::vector<std::byte>> values;
  for (const Input& in : inputs.segments) values.emplace_back(in.shape.raw_bytes());
  uint64_t bytes = 0;
  size_t next = 0;
  for (auto _ : state) {
    const ByteSpan in = inputs.segments[next].bytes();
    std::memcpy(values[next].data(), in.data(), in.size());
    benchmark::DoNotOptimize(values[next].data());
    if (with_crc) benchmark::DoNotOptimize(Crc32c(values[next]));
    bytes += in.size();
    next = next + 1 == values.size() ? 0 : next + 1;
  }
  SetFigures(state, bytes, 0);
}

void KvcompCases(benchmark::internal::Benchmark* b) {
  b->ArgNames({"profile", "memory"});
  for (int memory = 0; memory < 2; ++memory) {
    for (int i = 0; i < static_cast<int>(std::size(kProfiles)); ++i) b->Args({i, memory});
  }
}

BENCHMARK(BM_KvcompEncode)->Apply(KvcompCases);
BENCHMARK(BM_KvcompDecode)->Apply(KvcompCases);
BENCHMARK(BM_ZstdEncode)->ArgName("memory")->Arg(0)->Arg(1);
BENCHMARK(BM_ZstdDecode)->ArgName("memory")->Arg(0)->Arg(1);
BENCHMARK(BM_Copy)->ArgNames({"memory", "crc"})->ArgsProduct({{0, 1}, {0, 1}});

void ChooseTarget() {
  const char* const named = std::getenv("KVCOMPD_SIMD");
  for (const SimdTarget target : SupportedSimdTargets()) {
    if (named != nullptr && SimdTargetName(target) == named) UseSimdTarget(target);
  }
  benchmark::AddCustomContext("simd", std::string(SimdTargetName(ActiveSimdTarget())));
}

}  // namespace
}  // namespace kvcompd::codec

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  kvcompd::codec::ChooseTarget();
  return kvcompd::testing::RunBenchmarks();
}
