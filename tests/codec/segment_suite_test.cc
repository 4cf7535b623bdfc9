// What holds for the segments of every codec: they come back, their slices do, and every flipped byte is
// found.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "codec/base/profile.h"
#include "codec/codebook.h"
#include "codec/segment.h"
#include "tests/codec/block_samples.h"
#include "tests/codec/codec_profiles.h"
#include "tests/codec/kv_samples.h"

namespace kvcompd::codec {
namespace {

class SegmentSuite : public ::testing::TestWithParam<std::tuple<const char*, DType>> {
 protected:
  struct Sample {
    BlockHeader header;
    SegmentPlace place;
    std::string values;
    std::string bytes;
  };

  BlockSpec Spec(uint32_t heads, uint32_t tokens, uint32_t channels) const {
    BlockSpec spec;
    spec.profile = Profile::Parse(std::get<0>(GetParam()))->Text();
    spec.dtype = std::get<1>(GetParam());
    spec.heads = heads;
    spec.tokens = tokens;
    spec.head_dim_k = channels;
    spec.head_dim_v = spec.dtype == DType::kOpaque ? 0 : channels;
    return spec;
  }

  static bool BitExact() { return FindCodec(Profile::Parse(std::get<0>(GetParam()))->codec)->bit_exact(); }

  static Sample Make(const BlockSpec& spec, Tensor tensor) {
    Sample s{.header = SampleHeader(spec)};
    s.place = s.header.place(0, tensor);
    const SegmentShape shape = s.header.segment_shape(tensor);
    s.values =
        kvcompd::testing::SyntheticKv(spec.dtype, tensor, shape.heads, shape.tokens, shape.channels, 3);
    s.bytes = SampleSegment(s.header, 0, tensor, s.values, spec.set.get());
    return s;
  }

  static absl::StatusOr<std::string> Read(std::string_view bytes, const SegmentPlace& place,
                                          const CodebookSet* set = nullptr) {
    const auto view = SegmentView::Parse(AsBytes(bytes));
    if (!view.ok()) return view.status();
    std::string values(view->shape().raw_bytes(), '\x5a');
    Workspace ws;
    const Codebook* const book = set == nullptr ? nullptr : set->Find(place.layer, place.tensor);
    const absl::Status status =
        view->Decode(place, 0, view->shape().heads, book, &ws, std::as_writable_bytes(std::span(values)));
    if (!status.ok()) return status;
    return values;
  }
};

TEST_P(SegmentSuite, HeadsAndSlicesAreParts) {
  for (const Tensor tensor : {Tensor::kK, Tensor::kV}) {
    const BlockSpec spec = Spec(3, 150, 40);
    if (tensor == Tensor::kV && spec.head_dim_v == 0) continue;
    const Sample s = Make(spec, tensor);
    const auto all = Read(s.bytes, s.place);
    ASSERT_TRUE(all.ok()) << all.status();
    EXPECT_TRUE(!BitExact() || *all == s.values);
    const size_t head_bytes = all->size() / 3;
    const auto view = SegmentView::Parse(AsBytes(s.bytes));
    for (uint32_t first = 0; first < 3; ++first) {
      for (uint32_t heads = 1; first + heads <= 3; ++heads) {
        const std::string want = all->substr(first * head_bytes, heads * head_bytes);
        std::string part(heads * head_bytes, '\0');
        Workspace ws;
        ASSERT_TRUE(
            view->Decode(s.place, first, heads, nullptr, &ws, std::as_writable_bytes(std::span(part))).ok());
        EXPECT_TRUE(part == want);
        const auto slice = view->Slice(first, heads);
        ASSERT_TRUE(slice.ok()) << slice.status();
        const auto values = Read(*slice, s.place);
        ASSERT_TRUE(values.ok()) << values.status();
        EXPECT_TRUE(*values == want);
        EXPECT_EQ(heads == 3, *slice == s.bytes);
      }
    }
  }
}

TEST_P(SegmentSuite, ATrainedSetDecodesWhatItEncoded) {
  BlockSpec spec = Spec(2, 70, 64);
  spec.set = SampleSet(SampleHeader(spec).fingerprint, spec.profile, {spec.layers[0]});
  if (spec.set == nullptr) return;  // a codec without books
  for (const Tensor tensor : {Tensor::kK, Tensor::kV}) {
    if (tensor == Tensor::kV && spec.head_dim_v == 0) continue;
    const Sample s = Make(spec, tensor);
    const auto values = Read(s.bytes, s.place, spec.set.get());
    ASSERT_TRUE(values.ok()) << values.status();
    EXPECT_TRUE(!BitExact() || *values == s.values);
  }
}

TEST_P(SegmentSuite, EveryFlippedByteIsFound) {
  for (const Tensor tensor : {Tensor::kK, Tensor::kV}) {
    const BlockSpec spec = Spec(2, 66, 16);
    if (tensor == Tensor::kV && spec.head_dim_v == 0) continue;
    const Sample s = Make(spec, tensor);
    for (size_t i = 0; i < s.bytes.size(); ++i) {
      std::string bad = s.bytes;
      bad[i] = static_cast<char>(bad[i] ^ (1 << i % 8));
      const auto values = Read(bad, s.place);
      EXPECT_FALSE(values.ok()) << "byte " << i;
      EXPECT_TRUE(absl::IsDataLoss(values.status()) || absl::IsUnimplemented(values.status()))
          << values.status();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Profiles, SegmentSuite,
                         ::testing::Combine(::testing::ValuesIn(kvcompd::testing::kSuiteProfiles),
                                            ::testing::Values(DType::kBf16, DType::kFp8E4m3, DType::kOpaque)),
                         [](const auto& info) {
                           return kvcompd::testing::TestNameOf(absl::StrCat(
                               std::get<0>(info.param), "_", static_cast<int>(std::get<1>(info.param))));
                         });

}  // namespace
}  // namespace kvcompd::codec
