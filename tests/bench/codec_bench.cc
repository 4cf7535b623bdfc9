// Encode and decode speed on one core of the codecs that need no codebook, in bytes of uncompressed values,
// checksums included: whole segments of 8 heads, 64 tokens and 128 channels (128 KiB of bf16). "cache": one
// segment again and again; "memory": a new one each time, of more than twice the last-level cache together.
// Baselines in the same run: memcpy, and memcpy with the CRC of what it copied. The values are synthetic
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
#include "tests/bench/fail.h"
#include "tests/codec/kv_samples.h"

namespace kvcompd::codec {
namespace {

constexpr uint64_t kMemoryResidentBytes = 96 << 20;

enum class Resident { kCache, kMemory };

struct Case {
  std::string profile;
  DType dtype = DType::kBf16;
  Tensor tensor = Tensor::kK;
  Resident resident = Resident::kCache;

  SegmentPlace place() const {
    return {.key = BlockKey::FromBytes("a key of 16 bytes").value(), .layer = 0, .tensor = tensor};
  }
  SegmentShape shape() const { return {dtype, tensor, 0, 8, 64, 128}; }
  uint64_t copies() const {
    return resident == Resident::kCache ? 1 : kMemoryResidentBytes / shape().raw_bytes();
  }
  std::string values() const {
    const SegmentShape s = shape();
    return kvcompd::testing::SyntheticKv(dtype, tensor, s.heads, s.tokens, s.channels, 1);
  }
};

void Encode(benchmark::State& state, const Case& c) {
  const Profile profile = *Profile::Parse(c.profile);
  const Codec& codec = *FindCodec(profile.codec);
  const std::string one = c.values();
  std::string values;
  for (uint64_t i = 0; i < c.copies(); ++i) values += one;
  const uint64_t bound = SegmentBound(c.shape(), codec);
  std::vector<std::byte> out(bound * c.copies());
  Workspace ws;
  EncodeStats stats;
  const EncodeParams params{.profile = profile};
  uint64_t i = 0;
  for (auto _ : state) {
    const auto in = AsBytes(values).subspan(i * one.size(), one.size());
    const auto to = MutableByteSpan(out).subspan(i * bound, bound);
    if (!EncodeSegment(codec, c.place(), c.shape(), in, params, &ws, to, &stats).ok()) {
      return kvcompd::testing::Fail(state, "encode failed");
    }
    i = i + 1 == c.copies() ? 0 : i + 1;
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * one.size()));
  state.counters["ratio"] = static_cast<double>(stats.raw_bytes) / static_cast<double>(stats.payload_bytes);
}

void Decode(benchmark::State& state, const Case& c) {
  const Profile profile = *Profile::Parse(c.profile);
  const Codec& codec = *FindCodec(profile.codec);
  std::vector<std::byte> one(SegmentBound(c.shape(), codec));
  Workspace ws;
  const auto bytes = EncodeSegment(codec, c.place(), c.shape(), AsBytes(c.values()), {.profile = profile},
                                   &ws, one, nullptr);
  if (!bytes.ok()) return kvcompd::testing::Fail(state, "encode failed");
  one.resize(*bytes);
  std::vector<std::byte> segments;
  for (uint64_t i = 0; i < c.copies(); ++i) segments.insert(segments.end(), one.begin(), one.end());
  const uint64_t raw_bytes = c.shape().raw_bytes();
  std::vector<std::byte> values(raw_bytes * c.copies());
  uint64_t i = 0;
  for (auto _ : state) {
    const auto view = SegmentView::Parse(ByteSpan(segments).subspan(i * one.size(), one.size()));
    const auto out = MutableByteSpan(values).subspan(i * raw_bytes, raw_bytes);
    if (!view.ok() || !view->Decode(c.place(), 0, c.shape().heads, nullptr, &ws, out).ok()) {
      return kvcompd::testing::Fail(state, "decode failed");
    }
    i = i + 1 == c.copies() ? 0 : i + 1;
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * raw_bytes));
}

void Copy(benchmark::State& state, const Case& c, bool with_crc) {
  const uint64_t bytes = c.shape().raw_bytes();
  std::vector<std::byte> from(bytes * c.copies(), std::byte{7}), to(from.size());
  uint64_t i = 0;
  for (auto _ : state) {
    std::memcpy(to.data() + i * bytes, from.data() + i * bytes, bytes);
    if (with_crc) benchmark::DoNotOptimize(Crc32c(ByteSpan(to).subspan(i * bytes, bytes)));
    benchmark::ClobberMemory();
    i = i + 1 == c.copies() ? 0 : i + 1;
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * bytes));
}

struct Setting {
  std::string profile;
  bool every_dtype = false;  // else bf16 alone
};

const std::vector<Setting>& Settings() {
  static const auto* const settings = new std::vector<Setting>{
      {"lossless:mode=fast", true},
      {"lossless:mode=dense", true},
      {"intq:bits=2"},
      {"intq:bits=4", true},
      {"intq:bits=8"},
      {"packkv:repack=none,pack=4"},
      {"packkv:repack=none,pack=8"},
      {"packkv:repack=none,pack=16", true},
      {"packkv:repack=none,pack=32"},
      {"packkv:repack=median,pack=16"},
      {"packkv:repack=greedy,pack=8"},
      {"packkv:repack=greedy,pack=16"},
  };
  return *settings;
}

void RegisterCases() {
  for (const Resident resident : {Resident::kCache, Resident::kMemory}) {
    const std::string where = resident == Resident::kCache ? "cache" : "memory";
    for (const bool with_crc : {false, true}) {
      const Case c{.resident = resident};
      benchmark::RegisterBenchmark((where + (with_crc ? "/memcpy+crc" : "/memcpy")).c_str(), Copy, c,
                                   with_crc);
    }
    for (const Setting& setting : Settings()) {
      for (const DType dtype : {DType::kBf16, DType::kFp16, DType::kFp8E4m3}) {
        if (dtype != DType::kBf16 && !setting.every_dtype) continue;
        for (const Tensor tensor : {Tensor::kK, Tensor::kV}) {
          const Case c{setting.profile, dtype, tensor, resident};
          const std::string name = where + "/" + setting.profile + "/" + std::string(DTypeName(dtype)) +
                                   (tensor == Tensor::kK ? "/K" : "/V");
          benchmark::RegisterBenchmark((name + "/decode").c_str(), Decode, c);
          benchmark::RegisterBenchmark((name + "/encode").c_str(), Encode, c);
        }
      }
    }
  }
}

}  // namespace
}  // namespace kvcompd::codec

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  kvcompd::codec::RegisterCases();
  return kvcompd::testing::RunBenchmarks();
}
