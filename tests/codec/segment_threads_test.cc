// Segments whose groups are encoded on several threads are the ones that one thread encodes.
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <initializer_list>
#include <string>
#include <string_view>
#include <thread>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "codec/base/profile.h"
#include "codec/codec.h"
#include "codec/segment.h"
#include "codec/tile_group_executor.h"
#include "tests/codec/block_samples.h"
#include "tests/codec/codec_profiles.h"
#include "tests/codec/kv_samples.h"

namespace kvcompd::codec {
namespace {

MutableByteSpan Writable(std::string& s) { return std::as_writable_bytes(std::span(s)); }

// Threads of its own for every call, each with a workspace that is full of dirt.
class ThreadExecutor final : public TileGroupExecutor {
 public:
  explicit ThreadExecutor(uint32_t threads) : threads_(threads) {}

  void Run(uint32_t n, Workspace* ws, Job job) override {
    std::atomic<uint32_t> next{0};
    const auto work = [&](Workspace& own) {
      for (uint32_t i = next++; i < n; i = next++) {
        job(i, own);
        ++jobs_;
      }
    };
    std::vector<std::thread> helpers;
    for (uint32_t t = 1; t < threads_; ++t) {
      helpers.emplace_back([&work, t] {
        Workspace own;
        std::memset(own.Get(1 << 20).data(), static_cast<int>(t), 1 << 20);
        work(own);
      });
    }
    work(*ws);
    for (std::thread& helper : helpers) helper.join();
  }
  uint32_t jobs() const { return jobs_; }

 private:
  const uint32_t threads_;
  std::atomic<uint32_t> jobs_{0};
};

// The last group first.
class ReverseExecutor final : public TileGroupExecutor {
 public:
  void Run(uint32_t n, Workspace* ws, Job job) override {
    for (uint32_t i = n; i-- > 0;) job(i, *ws);
  }
};

struct Encoded {
  absl::StatusOr<uint64_t> size;
  std::string bytes;
  EncodeStats stats;
  std::vector<uint32_t> histogram;
};

Encoded Encode(const Codec& codec, const SegmentPlace& place, const SegmentShape& shape,
               const std::string& values, const Profile& profile, TileGroupExecutor* executor) {
  Encoded encoded;
  // What was there before is added to.
  encoded.histogram.assign(256, 7);
  encoded.stats.tiles = 1000;
  encoded.stats.histogram = &encoded.histogram;
  encoded.bytes.assign(SegmentBound(shape, codec), '\x5a');
  Workspace ws;
  encoded.size = EncodeSegment(codec, place, shape, AsBytes(values), {.profile = profile}, &ws,
                               Writable(encoded.bytes), &encoded.stats, executor);
  encoded.stats.histogram = nullptr;
  if (encoded.size.ok()) encoded.bytes.resize(*encoded.size);
  return encoded;
}

void ExpectSameStats(const EncodeStats& a, const EncodeStats& b) {
  EXPECT_EQ(a.tiles, b.tiles);
  EXPECT_EQ(a.raw_tiles, b.raw_tiles);
  EXPECT_EQ(a.nonfinite_tiles, b.nonfinite_tiles);
  EXPECT_EQ(a.bound_tiles, b.bound_tiles);
  EXPECT_EQ(a.payload_bytes, b.payload_bytes);
  EXPECT_EQ(a.raw_bytes, b.raw_bytes);
  EXPECT_EQ(a.max_error_over_r, b.max_error_over_r);
}

class SegmentThreads : public ::testing::TestWithParam<std::tuple<const char*, DType>> {
 protected:
  void Check(uint32_t tokens, Tensor tensor) {
    BlockSpec spec;
    spec.profile = profile_.Text();
    spec.dtype = std::get<1>(GetParam());
    spec.heads = 3;
    spec.tokens = tokens;
    spec.head_dim_k = spec.head_dim_v = 40;
    const BlockHeader header = SampleHeader(spec);
    const SegmentShape shape = header.segment_shape(tensor);
    const SegmentPlace place = header.place(0, tensor);
    std::string values =
        kvcompd::testing::SyntheticKv(spec.dtype, tensor, shape.heads, tokens, shape.channels, tokens);
    // A NaN in the last group of the second head, so that one tile there is raw.
    std::memset(values.data() + 2 * values.size() / 3 - 2, 0x7f, 2);

    const Encoded want = Encode(codec_, place, shape, values, profile_, nullptr);
    ASSERT_TRUE(want.size.ok()) << want.size.status();
    EXPECT_EQ(want.stats.tiles, 1000 + shape.heads * shape.groups());
    for (const uint32_t threads : {1u, 2u, 3u, 8u}) {
      SCOPED_TRACE(absl::StrCat(tokens, " tokens, ", threads, " threads"));
      ThreadExecutor executor(threads);
      const Encoded got = Encode(codec_, place, shape, values, profile_, &executor);
      ASSERT_TRUE(got.size.ok()) << got.size.status();
      EXPECT_TRUE(got.bytes == want.bytes);
      EXPECT_EQ(got.histogram, want.histogram);
      ExpectSameStats(got.stats, want.stats);
      EXPECT_EQ(executor.jobs(), shape.groups() > 1 ? shape.groups() : 0u);
    }
    ReverseExecutor reverse;
    const Encoded got = Encode(codec_, place, shape, values, profile_, &reverse);
    EXPECT_TRUE(got.bytes == want.bytes) << "backwards";
    EXPECT_EQ(got.histogram, want.histogram);
    ExpectSameStats(got.stats, want.stats);
  }

  const Profile profile_ = Profile::Parse(std::get<0>(GetParam())).value();
  const Codec& codec_ = *FindCodec(profile_.codec);
};

TEST_P(SegmentThreads, BytesAndStatsAreThoseOfOneThread) {
  for (const uint32_t tokens : {64u, 200u, 1024u}) {
    for (const Tensor tensor : {Tensor::kK, Tensor::kV}) Check(tokens, tensor);
  }
}

INSTANTIATE_TEST_SUITE_P(Profiles, SegmentThreads,
                         ::testing::Combine(::testing::ValuesIn(kvcompd::testing::kSuiteProfiles),
                                            ::testing::Values(DType::kBf16, DType::kFp8E4m3)),
                         [](const auto& info) {
                           return kvcompd::testing::TestNameOf(absl::StrCat(
                               std::get<0>(info.param), "_", static_cast<int>(std::get<1>(info.param))));
                         });

// Raw, but a group whose first value is not 0 fails with its name.
class FailingCodec final : public Codec {
 public:
  CodecId id() const override { return raw_.id(); }
  bool bit_exact() const override { return raw_.bit_exact(); }
  std::span<const std::string_view> mode_names() const override { return raw_.mode_names(); }
  uint32_t GroupHeaderBound(const GroupShape& shape) const override { return raw_.GroupHeaderBound(shape); }
  uint64_t WorkspaceBytes(const GroupShape& shape) const override { return raw_.WorkspaceBytes(shape); }
  absl::Status EncodeGroup(const GroupShape& shape, const std::byte* values, uint64_t head_stride_bytes,
                           const EncodeParams& params, MutableByteSpan workspace, GroupOutput* out,
                           EncodeStats* stats) const override {
    if (const auto name = std::to_integer<int>(*values); name != 0) {
      return absl::AbortedError(absl::StrCat("group ", name));
    }
    return raw_.EncodeGroup(shape, values, head_stride_bytes, params, workspace, out, stats);
  }
  absl::Status CheckGroupHeader(const GroupShape& shape, ByteSpan header) const override {
    return raw_.CheckGroupHeader(shape, header);
  }
  absl::Status DecodeTile(const GroupShape& shape, ByteSpan header, TileMode mode, ByteSpan payload,
                          const Codebook* book, MutableByteSpan workspace,
                          MutableByteSpan values) const override {
    return raw_.DecodeTile(shape, header, mode, payload, book, workspace, values);
  }

 private:
  const Codec& raw_ = *FindCodec(CodecId::kRaw);
};

TEST(SegmentThreadsTest, TheFirstGroupThatFailsGivesTheStatus) {
  const FailingCodec codec;
  BlockSpec spec;
  spec.tokens = 1024;
  const BlockHeader header = SampleHeader(spec);
  const SegmentShape shape = header.segment_shape(Tensor::kK);
  std::string values(shape.raw_bytes(), '\0');
  for (const int g : {5, 11, 15}) {
    values[g * shape.group(0).tile_bytes()] = static_cast<char>(g);
  }
  ReverseExecutor reverse;
  ThreadExecutor one(1), two(2), eight(8);
  for (TileGroupExecutor* const executor :
       std::initializer_list<TileGroupExecutor*>{nullptr, &reverse, &one, &two, &eight}) {
    const Encoded got = Encode(codec, header.place(0, Tensor::kK), shape, values, Profile(), executor);
    EXPECT_EQ(got.size.status(), absl::AbortedError("group 5"));
    EXPECT_EQ(got.stats.tiles, 1000u) << "nothing is added";
    EXPECT_EQ(got.stats.raw_bytes, 0u);
  }
}

}  // namespace
}  // namespace kvcompd::codec
