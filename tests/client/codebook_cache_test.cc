#include "client/codebook_cache.h"

#include <gtest/gtest.h>

namespace kvcompd::client {
namespace {

class CodebookCacheTest : public ::testing::Test {
 protected:
  CodebookCache::Set Train(const Fingerprint& fingerprint, uint32_t peak) {
    codec::CodebookTrainer trainer(fingerprint, profile_);
    std::vector<uint32_t> counts(256, 1);
    counts[peak] = 1000;
    trainer.Add(0, Tensor::kK, counts);
    trainer.Add(0, Tensor::kV, counts);
    return trainer.Build();
  }
  CodebookCache Make(int64_t refresh_us = 1000) {
    return CodebookCache(fingerprint_, &clock_, refresh_us,
                         [this](const std::string& id, const Deadline&,
                                const CodebookCache::CancelPtr&) -> absl::StatusOr<std::string> {
                           asked_.push_back(id);
                           return answer_;
                         });
  }
  Profile profile_ = *Profile::Parse("kvcomp:rel_k=0.05,rel_v=0.1");
  Fingerprint fingerprint_ = Sha256("model");
  ManualClock clock_;
  const Deadline deadline_ = Deadline::Never(&clock_);
  std::vector<std::string> asked_;
  absl::StatusOr<std::string> answer_ = absl::NotFoundError("none");
};

TEST_F(CodebookCacheTest, ASetIsFetchedOnce) {
  const auto set = Train(fingerprint_, 3);
  answer_ = set->canonical_bytes();
  CodebookCache cache = Make();
  for (int i = 0; i < 3; ++i) {
    auto found = cache.Find(set->id(), profile_, deadline_);
    ASSERT_TRUE(found.ok()) << found.status();
    EXPECT_EQ((*found)->id(), set->id());
  }
  EXPECT_EQ(asked_, std::vector<std::string>{std::string(set->id().view())});
}

TEST_F(CodebookCacheTest, BuiltInSetsAreNotAskedFor) {
  CodebookCache cache = Make();
  auto built_in = cache.Find(Digest(), profile_, deadline_);
  ASSERT_TRUE(built_in.ok());
  EXPECT_EQ((*built_in)->id(), codec::CodebookSet::BuiltIn(profile_)->id());
  EXPECT_EQ(*cache.Find(Digest(), *Profile::Parse("raw"), deadline_), nullptr);
  EXPECT_EQ(*cache.Find(Digest(), deadline_), nullptr);  // readers need no set for built-in books
  EXPECT_TRUE(asked_.empty());
}

TEST_F(CodebookCacheTest, ASetThatIsNotTheOneAskedForIsDataLoss) {
  const auto set = Train(fingerprint_, 3);
  CodebookCache cache = Make();
  answer_ = Train(fingerprint_, 9)->canonical_bytes();
  EXPECT_EQ(cache.Find(set->id(), profile_, deadline_).status().code(), absl::StatusCode::kDataLoss);
  const auto foreign = Train(Sha256("another model"), 3);
  answer_ = foreign->canonical_bytes();
  EXPECT_EQ(cache.Find(foreign->id(), profile_, deadline_).status().code(), absl::StatusCode::kDataLoss);
  answer_ = "garbage";
  EXPECT_EQ(cache.Find(set->id(), profile_, deadline_).status().code(), absl::StatusCode::kDataLoss);
  answer_ = absl::NotFoundError("gone");
  EXPECT_EQ(cache.Find(set->id(), profile_, deadline_).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(CodebookCacheTest, TheCurrentSetIsAskedForAgainAfterAWhile) {
  CodebookCache cache = Make(/*refresh_us=*/1000);
  auto first = cache.Current(profile_, deadline_);  // NOT_FOUND: the built-in one
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_TRUE((*first)->fingerprint().IsZero());
  const auto set = Train(fingerprint_, 3);
  answer_ = set->canonical_bytes();
  EXPECT_EQ((*cache.Current(profile_, deadline_))->id(), (*first)->id());
  clock_.AdvanceUs(1000);
  EXPECT_EQ((*cache.Current(profile_, deadline_))->id(), set->id());
  EXPECT_EQ(asked_.size(), 2u);
  // A set of another profile does not serve this one.
  const Profile other = *Profile::Parse("kvcomp:rel_k=0.1,rel_v=0.1");
  EXPECT_EQ((*cache.Current(other, deadline_))->id(), codec::CodebookSet::BuiltIn(other)->id());
}

TEST_F(CodebookCacheTest, AnotherStoreIsAskedForItsCurrentSetAtOnce) {
  CodebookCache cache = Make(/*refresh_us=*/1'000'000);
  const auto set = Train(fingerprint_, 3);
  answer_ = set->canonical_bytes();
  EXPECT_EQ((*cache.Current(profile_, deadline_))->id(), set->id());
  answer_ = absl::NotFoundError("none");
  EXPECT_EQ((*cache.Current(profile_, deadline_))->id(), set->id());
  cache.ForgetCurrent();
  EXPECT_TRUE((*cache.Current(profile_, deadline_))->fingerprint().IsZero());
  EXPECT_NE(cache.Cached(set->id()), nullptr);  // what it stands for has not changed
  EXPECT_EQ(cache.Cached(Sha256("another")), nullptr);
}

TEST_F(CodebookCacheTest, AnOutageIsReported) {
  CodebookCache cache = Make();
  answer_ = absl::UnavailableError("down");
  EXPECT_EQ(cache.Current(profile_, deadline_).status().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace kvcompd::client
