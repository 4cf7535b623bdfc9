#include "server/store/codebook_registry.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <thread>
#include <vector>

#include "tests/server/store/store_test_util.h"

namespace kvcompd::server {
namespace {

using codec::CodebookSet;
using codec::CodebookTrainer;
using SetPtr = std::shared_ptr<const CodebookSet>;
using Counts = std::array<uint32_t, 256>;

constexpr uint32_t kFirst = CodebookRegistry::kFirstTrainingSamples;

// `n` codes, nearly all of them the same.
Counts Peak(uint32_t at, uint32_t n) {
  Counts counts{};
  counts[at] = n;
  return counts;
}

class CodebookRegistryTest : public testing::Test {
 protected:
  std::string SetBytes(uint32_t peak, const Fingerprint& fingerprint) {
    CodebookTrainer trainer(fingerprint, profile_);
    trainer.Add(0, Tensor::kK, Peak(peak, 1000 + peak));
    return trainer.Build()->canonical_bytes();
  }
  std::string SetBytes(uint32_t peak) { return SetBytes(peak, fingerprint_); }

  const Profile profile_ = Profile::Parse("kvcomp:rel_k=0.05,rel_v=0.1").value();
  const Fingerprint fingerprint_ = TestModel().Fingerprint();
  CodebookRegistry registry_{fingerprint_};
};

TEST_F(CodebookRegistryTest, TheBuiltInSetServesUntilSamplesSuffice) {
  const SetPtr built_in = CodebookSet::BuiltIn(profile_);
  EXPECT_EQ(registry_.Current(profile_)->id(), built_in->id());
  registry_.AddSamples(profile_, 0, Tensor::kK, Peak(3, kFirst - 1));
  EXPECT_EQ(registry_.Current(profile_)->id(), built_in->id());
  EXPECT_EQ(registry_.live(), 0u);
  registry_.AddSamples(profile_, 1, Tensor::kV, Peak(3, 1));
  const SetPtr trained = registry_.Current(profile_);
  EXPECT_NE(trained->id(), built_in->id());
  EXPECT_EQ(trained->fingerprint(), fingerprint_);
  EXPECT_EQ(registry_.live(), 1u);
  EXPECT_EQ(registry_.Find(trained->id(), profile_), trained);
  EXPECT_EQ(registry_.FindById(trained->id()).value(), trained);
}

TEST_F(CodebookRegistryTest, ProfilesWithoutBooksHaveNoSet) {
  EXPECT_EQ(registry_.Current(Profile()), nullptr);
  registry_.AddSamples(Profile(), 0, Tensor::kK, Peak(3, kFirst));
  EXPECT_EQ(registry_.Current(Profile()), nullptr);
  EXPECT_EQ(registry_.Find(Digest(), Profile()), nullptr);
}

TEST_F(CodebookRegistryTest, FindChecksTheProfile) {
  const SetPtr built_in = CodebookSet::BuiltIn(profile_);
  EXPECT_EQ(registry_.Find(Digest(), profile_)->id(), built_in->id());
  EXPECT_EQ(registry_.Find(built_in->id(), profile_)->id(), built_in->id());
  EXPECT_EQ(registry_.FindById(built_in->id()).value()->id(), built_in->id());
  registry_.AddSamples(profile_, 0, Tensor::kK, Peak(3, kFirst));
  const SetPtr trained = registry_.Current(profile_);
  EXPECT_EQ(registry_.Find(trained->id(), Profile::Parse("kvcomp:rel_k=0.1").value()), nullptr);
  EXPECT_EQ(registry_.Find(Sha256("unknown"), profile_), nullptr);
  EXPECT_EQ(registry_.FindById(Sha256("unknown")).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(CodebookRegistryTest, ARefreshComesAtEightTimesTheSamplesWhereItPays) {
  registry_.AddSamples(profile_, 0, Tensor::kK, Peak(3, kFirst));
  const SetPtr first = registry_.Current(profile_);
  // Another distribution, but not yet eight times the samples.
  registry_.AddSamples(profile_, 0, Tensor::kK, Peak(9, 7 * kFirst - 1));
  EXPECT_EQ(registry_.Current(profile_), first);
  registry_.AddSamples(profile_, 0, Tensor::kK, Peak(9, 1));
  const SetPtr second = registry_.Current(profile_);
  EXPECT_NE(second->id(), first->id());
  // Only more of the same: the next set would save nothing.
  registry_.AddSamples(profile_, 0, Tensor::kK, Peak(9, 56 * kFirst));
  EXPECT_EQ(registry_.Current(profile_), second);
}

TEST_F(CodebookRegistryTest, ASetLivesWhileItIsReferenced) {
  registry_.AddSamples(profile_, 0, Tensor::kK, Peak(3, kFirst));
  SetPtr first = registry_.Current(profile_);
  const Digest id = first->id();
  registry_.AddSamples(profile_, 0, Tensor::kK, Peak(9, 7 * kFirst));
  ASSERT_NE(registry_.Current(profile_)->id(), id);
  EXPECT_EQ(registry_.live(), 2u);
  EXPECT_NE(registry_.Find(id, profile_), nullptr);
  first.reset();
  EXPECT_EQ(registry_.Find(id, profile_), nullptr);
  EXPECT_EQ(registry_.live(), 1u);
}

TEST_F(CodebookRegistryTest, UploadsAreCheckedAndTheNewestHeld) {
  EXPECT_EQ(registry_.Upload("nonsense").status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(registry_.Upload(SetBytes(1, TestModel("b").Fingerprint())).status().code(),
            absl::StatusCode::kFailedPrecondition);
  std::vector<Digest> ids;
  for (uint32_t n = 1; n <= 6; ++n) {
    auto set = registry_.Upload(SetBytes(n));
    ASSERT_TRUE(set.ok()) << set.status();
    ids.push_back((*set)->id());
  }
  for (size_t i = 0; i < ids.size(); ++i) EXPECT_EQ(registry_.Find(ids[i], profile_) != nullptr, i >= 2) << i;
  EXPECT_EQ(registry_.live(), CodebookRegistry::kMaxUploaded);
  EXPECT_EQ(registry_.Upload(SetBytes(6)).value()->id(), ids[5]);  // again
  EXPECT_EQ(registry_.live(), CodebookRegistry::kMaxUploaded);
}

TEST_F(CodebookRegistryTest, UploadsAreLimitedInBooksAndMemory) {
  std::atomic<uint64_t> bytes{0};
  {
    CodebookRegistry registry(fingerprint_, /*layers=*/1, &bytes);
    const SetPtr set = registry.Upload(SetBytes(1)).value();
    EXPECT_EQ(bytes, set->memory_bytes());
    EXPECT_GT(bytes, set->canonical_bytes().size());
    codec::CodebookTrainer many(fingerprint_, profile_);
    for (uint32_t layer = 0; layer < 3; ++layer) {
      many.Add(layer, Tensor::kK, Peak(3, 10));
      many.Add(layer, Tensor::kV, Peak(3, 10));
    }
    const absl::Status books = registry.Upload(many.Build()->canonical_bytes()).status();
    EXPECT_EQ(books.code(), absl::StatusCode::kInvalidArgument) << books;
    EXPECT_NE(books.message().find("can use 4"), absl::string_view::npos) << books;
    bytes = CodebookRegistry::kMaxUploadedBytes;
    EXPECT_EQ(registry.Upload(SetBytes(2)).status().code(), absl::StatusCode::kResourceExhausted);
    bytes = set->memory_bytes();
    EXPECT_TRUE(registry.Upload(SetBytes(2)).ok());
    EXPECT_GT(bytes, set->memory_bytes());
    registry.ForgetUploads();
    EXPECT_EQ(bytes, set->memory_bytes()) << "only the one that is held";
  }
  EXPECT_EQ(bytes, 0u);
}

TEST_F(CodebookRegistryTest, LiveSetsAreLimited) {
  std::vector<SetPtr> named;  // as by blocks
  for (uint32_t n = 1; n <= CodebookRegistry::kMaxLive; ++n) {
    named.push_back(registry_.Upload(SetBytes(n)).value());
  }
  EXPECT_EQ(registry_.Upload(SetBytes(18)).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(registry_.live(), CodebookRegistry::kMaxLive);  // the refused one took no other's place
  // A training waits for room.
  registry_.AddSamples(profile_, 0, Tensor::kK, Peak(19, kFirst));
  EXPECT_EQ(registry_.Current(profile_)->id(), CodebookSet::BuiltIn(profile_)->id());
  named.front().reset();
  registry_.AddSamples(profile_, 0, Tensor::kK, Peak(19, 1));
  EXPECT_NE(registry_.Current(profile_)->id(), CodebookSet::BuiltIn(profile_)->id());
  EXPECT_EQ(registry_.live(), CodebookRegistry::kMaxLive);
}

TEST_F(CodebookRegistryTest, ReadersAndTrainersAtOnce) {
  std::atomic<bool> done{false};
  std::vector<std::thread> threads;
  for (uint32_t t = 0; t < 2; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 40; ++i) registry_.AddSamples(profile_, t, Tensor::kK, Peak(3 + i % 2, kFirst / 8));
    });
  }
  threads.emplace_back([&] {
    while (!done) {
      const SetPtr set = registry_.Current(profile_);
      ASSERT_NE(set, nullptr);
      ASSERT_NE(set->Find(0, Tensor::kK), nullptr);
      ASSERT_EQ(registry_.Find(set->id(), profile_), set);
    }
  });
  threads[0].join();
  threads[1].join();
  done = true;
  threads[2].join();
  EXPECT_NE(registry_.Current(profile_)->id(), CodebookSet::BuiltIn(profile_)->id());
}

}  // namespace
}  // namespace kvcompd::server
