#include "codec/base/profile.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace kvcompd {
namespace {

using ::testing::HasSubstr;

TEST(ProfileTest, CanonicalTextLeavesDefaultsOut) {
  const std::pair<const char*, const char*> kCases[] = {
      {"raw", "raw"},
      {"kvcomp", "kvcomp:rel_k=0.05,rel_v=0.1"},
      {"kvcomp:rel_k=0.05", "kvcomp:rel_k=0.05,rel_v=0.1"},
      {"kvcomp:k_unit=block,strict=0", "kvcomp:rel_k=0.05,rel_v=0.1"},
      {"kvcomp:k_unit=channel", "kvcomp:rel_k=0.05,rel_v=0.1,k_unit=channel"},
      {"kvcomp:coder=huffman,v_unit=token", "kvcomp:rel_k=0.05,rel_v=0.1"},
      {"kvcomp:coder=rans,v_unit=block,rel_v=0.2", "kvcomp:rel_k=0.05,rel_v=0.2,v_unit=block,coder=rans"},
      {"kvcomp:strict=1", "kvcomp:rel_k=0.05,rel_v=0.1,strict=1"},
      {"kvcomp:rel_k=1e-1", "kvcomp:rel_k=0.1,rel_v=0.1"},
      {"kvcomp:strict=1,rel_v=5e-1,k_unit=channel,rel_k=0.0050",
       "kvcomp:rel_k=0.005,rel_v=0.5,k_unit=channel,strict=1"},
      {"lossless", "lossless:mode=fast"},
      {"lossless:mode=dense", "lossless:mode=dense"},
      {"intq", "intq:bits=4,group=32"},
      {"intq:bits_v=2,bits=2", "intq:bits=2,group=32"},
      {"intq:bits_v=2,group=128", "intq:bits=4,group=128,bits_v=2"},
      {"packkv", "packkv:rel_k=0.1,rel_v=0.2"},
      {"packkv:pack=8,repack=greedy,rel_k=0.05", "packkv:rel_k=0.05,rel_v=0.2,repack=greedy,pack=8"},
      {"packkv:pack=auto,repack=auto", "packkv:rel_k=0.1,rel_v=0.2,repack=auto,pack=auto"},
      {"packkv:repack=auto,pack=8", "packkv:rel_k=0.1,rel_v=0.2,repack=auto,pack=8"},
      {"packkv:repack=none,pack=auto", "packkv:rel_k=0.1,rel_v=0.2,pack=auto"},
  };
  for (const auto& [text, canonical] : kCases) {
    const auto profile = Profile::Parse(text);
    ASSERT_TRUE(profile.ok()) << text << ": " << profile.status();
    EXPECT_EQ(profile->Text(), canonical);
    EXPECT_EQ(Profile::Parse(canonical)->Text(), canonical);
    EXPECT_EQ(profile->Validate(), absl::OkStatus());
  }
}

TEST(ProfileTest, RejectsAndSaysWhy) {
  const std::pair<std::string, const char*> kCases[] = {
      {"", "empty"},
      {"raw:", "no options"},
      {"raw:rel_k=0.1", "no options"},
      {"kvcomp:", "name=value"},
      {"kvcomp:rel_k", "name=value"},
      {"kvcomp:rel_k=", "no number"},
      {"kvcomp:rel_k=0.1x", "no number"},
      {"kvcomp:rel_k= 0.1", "no number"},
      {"kvcomp:rel_k=nan", "0.005 to 0.5"},
      {"kvcomp:rel_k=inf", "0.005 to 0.5"},
      {"kvcomp:rel_k=-0.1", "0.005 to 0.5"},
      {"kvcomp:rel_k=0.0049999", "0.005 to 0.5"},
      {"kvcomp:rel_v=0.51", "0.005 to 0.5"},
      {"kvcomp:rel_k=0.1,rel_k=0.1", "twice"},
      {"kvcomp:rel_k=0.1,", "name=value"},
      {"kvcomp:k_unit=Head", "block, channel"},
      {"kvcomp:k_unit=", "block, channel"},
      {"kvcomp:strict=2", "0, 1"},
      {"intq:bits=3", "2, 4, 8"},
      {"intq:bits=04", "2, 4, 8"},
      {"intq:group=16", "32, 64, 128"},
      {"packkv:pack=64", "4, 8, 16, 32, auto"},
      {"packkv:pack=0", "4, 8, 16, 32, auto"},
      {"packkv:pack=Auto", "4, 8, 16, 32, auto"},
      {"packkv:repack=Auto", "none, median, greedy, auto"},
      {"packkv:rel_k=auto", "no number"},
      {"intq:bits=auto", "2, 4, 8"},
      {"intq:bits_v=0", "2, 4, 8"},
      {"packkv:rel_k=0.6", "0.005 to 0.5"},
      {"lossless:mode=Fast", "fast, dense"},
      {"lossless:", "name=value"},
      {"kvcomp:Level=3", "no option"},
      {"kvcomp:=3", "no option"},
      {"KVCOMP", "no name"},
      {" raw", "no name"},
      {":rel_k=0.1", "no name"},
      {std::string("raw\0", 4), "no name"},
      {"kvcomp:" + std::string(506, 'x'), "at most 512"},
  };
  for (const auto& [text, why] : kCases) {
    const absl::Status status = Profile::Parse(text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(status.message()), HasSubstr(why)) << text;
  }
}

TEST(ProfileTest, WhatANewerVersionMayWriteIsUnimplemented) {
  for (const char* text :
       {"tcq:rel=0.1", "kvcomp:level=3", "kvcomp:rel_k=0.1,rel_v=0.1,zero_bits=8", "kvcomp:k_unit=head",
        "kvcomp:coder=tans", "kvcomp:v_unit=channel", "lossless:mode=slow", "packkv:repack=sorted"}) {
    EXPECT_EQ(Profile::Parse(text).status().code(), absl::StatusCode::kUnimplemented) << text;
  }
}

TEST(ProfileTest, CanonicalTextIsShortestThatParsesBackAndFits) {
  std::mt19937_64 rng(3);
  std::uniform_real_distribution<double> rel(0.005, 0.5);
  for (int i = 0; i < 2000; ++i) {
    Profile p;
    p.codec = CodecId::kKvcomp;
    p.rel_k = rel(rng);
    p.rel_v = rel(rng);
    const std::string text = p.Text();
    ASSERT_LE(text.size(), Profile::kMaxTextBytes);
    const auto back = Profile::Parse(text);
    ASSERT_TRUE(back.ok()) << text;
    EXPECT_EQ(back->rel_k, p.rel_k);
    EXPECT_EQ(back->rel_v, p.rel_v);
    EXPECT_EQ(*back, p);
  }
}

TEST(ProfileTest, ErrorBounds) {
  EXPECT_EQ(Profile().ErrorBound(), 0.0);
  EXPECT_TRUE(Profile().lossless());
  const Profile p = *Profile::Parse("kvcomp:rel_k=0.2,rel_v=0.1");
  EXPECT_FALSE(p.lossless());
  EXPECT_EQ(p.ErrorBound(Tensor::kK), 0.1);
  EXPECT_EQ(p.ErrorBound(Tensor::kV), 0.05);
  EXPECT_EQ(p.ErrorBound(), 0.1);
  EXPECT_EQ(Profile::Parse("lossless:mode=dense")->ErrorBound(), 0.0);
  EXPECT_TRUE(Profile::Parse("lossless")->lossless());
  const Profile intq = *Profile::Parse("intq:bits=4,bits_v=2");
  EXPECT_EQ(intq.ErrorBound(Tensor::kK), 0.5 / 15);
  EXPECT_EQ(intq.ErrorBound(Tensor::kV), 0.5 / 3);
  EXPECT_EQ(Profile::Parse("packkv")->ErrorBound(), 0.1);
}

TEST(ProfileTest, PackingTakesAChoiceOnlyForWhatIsAuto) {
  const PackkvSetting chosen{Repack::kMedian, 4};
  const auto packing = [&](const char* text) { return Profile::Parse(text)->Packing(chosen); };
  EXPECT_EQ(packing("packkv:repack=auto,pack=auto"), chosen);
  EXPECT_EQ(packing("packkv:repack=auto,pack=8"), (PackkvSetting{Repack::kMedian, 8}));
  EXPECT_EQ(packing("packkv:repack=greedy,pack=auto"), (PackkvSetting{Repack::kGreedy, 4}));
  EXPECT_EQ(packing("packkv:repack=greedy,pack=8"), (PackkvSetting{Repack::kGreedy, 8}));
  EXPECT_EQ(Profile::Parse("packkv:repack=auto,pack=auto")->Packing(), (PackkvSetting{Repack::kNone, 16}));
  EXPECT_TRUE(Profile::Parse("packkv:repack=auto")->packing_is_auto());
  EXPECT_TRUE(Profile::Parse("packkv:pack=auto")->packing_is_auto());
  EXPECT_FALSE(Profile::Parse("packkv:repack=greedy,pack=8")->packing_is_auto());
  Profile other = *Profile::Parse("packkv:pack=auto");
  other.codec = CodecId::kKvcomp;
  EXPECT_FALSE(other.packing_is_auto());
}

TEST(ProfileTest, ValidateChecksWhatParseWouldNotMake) {
  Profile p;
  p.codec = CodecId::kKvcomp;
  p.rel_v = std::nan("");
  EXPECT_EQ(p.Validate().code(), absl::StatusCode::kInvalidArgument);
  p.rel_v = 0.1;
  p.k_unit = static_cast<KUnit>(0);
  EXPECT_EQ(p.Validate().code(), absl::StatusCode::kInvalidArgument);
  p = *Profile::Parse("packkv");
  p.repack = static_cast<Repack>(4);
  EXPECT_EQ(p.Validate().code(), absl::StatusCode::kInvalidArgument);
  p.repack = Repack::kAuto;
  p.pack = 7;
  EXPECT_EQ(p.Validate().code(), absl::StatusCode::kInvalidArgument);
  p.codec = static_cast<CodecId>(77);
  EXPECT_EQ(p.Validate().code(), absl::StatusCode::kUnimplemented);
}

}  // namespace
}  // namespace kvcompd
