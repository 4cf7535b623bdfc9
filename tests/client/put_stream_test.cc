#include "client/put_stream.h"

#include <gtest/gtest.h>

#include <cstring>

#include "client/client.h"
#include "codec/base/chain_hash.h"
#include "codec/base/profile.h"
#include "codec/codebook.h"
#include "tests/client/fake_daemon.h"
#include "tests/client/kv_memory.h"

namespace kvcompd::client {
namespace {

class PutTest : public ::testing::Test {
 protected:
  void Open(ClientOptions options) {
    client_ = *Client::Connect(std::move(options));
    ns_ = *client_->OpenNamespace(model_);
  }
  void SetUp() override {
    source_.Fill(1);
    Open(daemon_.Options());
  }
  static BlockKey Key(uint32_t i) { return ChainHash({}, std::vector<uint32_t>{i}); }
  std::vector<PutBlock> Blocks(uint32_t n) {
    std::vector<PutBlock> out;
    for (uint32_t i = 0; i < n; ++i) out.push_back({.key = Key(i), .tokens = 64, .source = source_.Place(i)});
    return out;
  }
  // Reads what the daemon has into fresh memory of another layout, and compares.
  bool Stored(uint32_t n, Form form = Form::kDecoded) {
    KvMemory target(model_, PageLayout::kHnd, 32, 64);
    std::vector<GetBlock> blocks;
    for (uint32_t i = 0; i < n; ++i) blocks.push_back({.key = Key(i), .target = target.Place(i)});
    auto results = ns_->GetBlocks(blocks, {.form = form});
    if (!results.ok()) return false;
    for (uint32_t i = 0; i < n; ++i) {
      if (!(*results)[i].status.ok() || !SameBlock(source_, i, target, i)) return false;
    }
    return true;
  }

  ModelDescriptor model_ = TestModel();
  FakeDaemon daemon_{model_};
  KvMemory source_{model_, PageLayout::kNhd, 16, 64};
  std::unique_ptr<Client> client_;
  std::shared_ptr<NamespaceHandle> ns_;
};

TEST_F(PutTest, BlocksArriveAsTheyAre) {
  auto results = ns_->PutBlocks(Blocks(5), {});
  ASSERT_TRUE(results.ok()) << results.status();
  for (const PutResult& r : *results) {
    EXPECT_TRUE(r.status.ok()) << r.status;
    EXPECT_FALSE(r.already_stored);
    EXPECT_EQ(r.generation.epoch, 1u);
  }
  EXPECT_TRUE(Stored(5));
  auto again = ns_->PutBlocks(Blocks(5), {});
  ASSERT_TRUE(again.ok());
  for (size_t i = 0; i < again->size(); ++i) {
    const PutResult& r = (*again)[i];
    EXPECT_TRUE(r.status.ok() && r.already_stored);
    EXPECT_EQ(r.generation, (*results)[i].generation);
    EXPECT_EQ(r.raw_bytes, 1000u);
    EXPECT_EQ(r.encoded_bytes, 100u);
  }
}

TEST_F(PutTest, LayersAreSentAsTheyAreComputed) {
  auto put = ns_->OpenPut(Blocks(2), {});
  ASSERT_TRUE(put.ok()) << put.status();
  std::vector<BlockPlace> places = {source_.Place(0), source_.Place(1)};
  EXPECT_EQ((*put)->PushLayer(1, places).code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE((*put)->PushLayer(0, places).ok());
  EXPECT_EQ((*put)->PushLayer(0, places).code(), absl::StatusCode::kFailedPrecondition);
  const uint32_t zero = 0;
  EXPECT_EQ((*put)->Commit({&zero, 1}).code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE((*put)->PushLayer(1, places).ok());
  ASSERT_TRUE((*put)->Commit({&zero, 1}).ok());
  auto results = (*put)->Finish();
  ASSERT_TRUE(results.ok()) << results.status();
  EXPECT_TRUE((*results)[0].status.ok() && (*results)[1].status.ok());
  EXPECT_TRUE(Stored(2));
}

TEST_F(PutTest, AnUnfinishedPutStoresNothing) {
  auto put = ns_->OpenPut(Blocks(1), {});
  ASSERT_TRUE(put.ok());
  ASSERT_TRUE((*put)->PushLayer(0, std::vector<BlockPlace>{source_.Place(0)}).ok());
  auto results = (*put)->Finish();
  ASSERT_TRUE(results.ok());
  EXPECT_EQ((*results)[0].status.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(daemon_.stored_blocks(), 0u);
}

TEST_F(PutTest, CreditsAndMessageSizesAreHonoured) {
  for (uint64_t credit : {5000u, 9216u, 30'000u}) {  // a block has 30,720 bytes
    daemon_.Forget();
    daemon_.put_credit = credit;
    daemon_.most_message_bytes = 0;
    auto results = ns_->PutBlocks(Blocks(4), {});
    ASSERT_TRUE(results.ok()) << results.status();
    for (const PutResult& r : *results) ASSERT_TRUE(r.status.ok()) << r.status;
    EXPECT_LE(daemon_.most_message_bytes, static_cast<int>(credit / 2));
    EXPECT_TRUE(Stored(4));
  }
}

TEST_F(PutTest, ABrokenPutIsTakenUpWithWhatIsOpen) {
  for (int after : {0, 1, 2, 5, 9}) {
    daemon_.Forget();
    daemon_.put_credit = 8192;
    daemon_.puts = 0;
    daemon_.break_put_after = after;
    auto results = ns_->PutBlocks(Blocks(3), {});
    ASSERT_TRUE(results.ok()) << results.status();
    for (const PutResult& r : *results) EXPECT_TRUE(r.status.ok()) << r.status;
    EXPECT_GE(daemon_.puts, 2);
    EXPECT_TRUE(Stored(3)) << after;
  }
}

TEST_F(PutTest, AStreamThatBreaksSaysSo) {
  daemon_.put_credit = 8192;
  daemon_.break_put_after = 1;
  auto put = ns_->OpenPut(Blocks(2), {});
  ASSERT_TRUE(put.ok());
  const std::vector<BlockPlace> places = {source_.Place(0), source_.Place(1)};
  absl::Status status = (*put)->PushLayer(0, places);
  if (status.ok()) status = (*put)->PushLayer(1, places);
  if (status.ok()) status = (*put)->Finish().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ((*put)->PushLayer(1, places).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ((*put)->results().size(), 2u);
}

TEST_F(PutTest, EachBlockHasItsOwnVerdict) {
  daemon_.dispose = [](int i) {
    v1::PutDisposition d;
    d.set_verdict(v1::PutDisposition::WANTED);
    if (i == 1) d.set_verdict(v1::PutDisposition::IN_PROGRESS);
    if (i == 2) {
      d.set_verdict(v1::PutDisposition::REFUSED);
      d.mutable_status()->set_code(grpc::StatusCode::RESOURCE_EXHAUSTED);
      d.mutable_status()->set_reason(v1::REASON_QUOTA);
    }
    return d;
  };
  auto results = ns_->PutBlocks(Blocks(4), {});
  ASSERT_TRUE(results.ok()) << results.status();
  EXPECT_TRUE((*results)[0].status.ok());
  EXPECT_EQ((*results)[1].status.code(), absl::StatusCode::kAborted);
  EXPECT_EQ((*results)[1].reason, v1::REASON_IN_PROGRESS);
  EXPECT_EQ((*results)[2].status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ((*results)[2].reason, v1::REASON_QUOTA);
  EXPECT_TRUE((*results)[3].status.ok());
  EXPECT_EQ(daemon_.stored_blocks(), 2u);
}

TEST_F(PutTest, ABlockThatFailsLeavesTheOthersAlone) {
  daemon_.put_credit = 8192;
  daemon_.fail_put_block = 1;
  auto results = ns_->PutBlocks(Blocks(3), {});
  ASSERT_TRUE(results.ok()) << results.status();
  EXPECT_TRUE((*results)[0].status.ok());
  EXPECT_EQ((*results)[1].status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE((*results)[2].status.ok());
}

TEST_F(PutTest, BatchesAreCutToTheDaemonsLimit) {
  daemon_.max_blocks = 2;
  ASSERT_TRUE(ns_->Refresh().ok());
  daemon_.puts = 0;
  auto results = ns_->PutBlocks(Blocks(5), {});
  ASSERT_TRUE(results.ok()) << results.status();
  EXPECT_EQ(daemon_.puts, 3);
  EXPECT_TRUE(Stored(5));
  EXPECT_EQ(ns_->OpenPut(Blocks(3), {}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(PutTest, MistakesAreFoundBeforeTheDaemonIsAsked) {
  daemon_.puts = 0;
  const auto code = [this](std::vector<PutBlock> blocks, PutOptions options = {}) {
    return ns_->PutBlocks(blocks, options).status().code();
  };
  const auto kInvalid = absl::StatusCode::kInvalidArgument;
  EXPECT_EQ(code({}), kInvalid);
  EXPECT_EQ(code({{.key = Key(0), .tokens = 65, .source = source_.Place(0)}}), kInvalid);
  EXPECT_EQ(code({{.key = Key(0), .tokens = 0, .source = source_.Place(0)}}), kInvalid);
  EXPECT_EQ(code({{.key = Key(0), .tokens = 64}}), kInvalid);
  EXPECT_EQ(code({Blocks(1)[0], Blocks(1)[0]}), kInvalid);
  EXPECT_EQ(code(Blocks(1), {.shard = {.group = 3}}), kInvalid);
  EXPECT_EQ(code(Blocks(1), {.shard = {.head_begin = 1}}), kInvalid);  // the buffer has three heads
  EXPECT_EQ(code(Blocks(1), {.put_id = "short"}), kInvalid);
  EXPECT_EQ(code(Blocks(1), {.form = Form::kEncoded, .profile = "kvcomp:rel_k=7"}), kInvalid);
  EXPECT_EQ(daemon_.puts, 0);
}

TEST_F(PutTest, EncodedRawBlocksComeBackBitExact) {
  auto results = ns_->PutBlocks(Blocks(3), {.form = Form::kEncoded, .profile = "raw", .cache_salt = ""});
  ASSERT_TRUE(results.ok()) << results.status();
  for (const PutResult& r : *results) ASSERT_TRUE(r.status.ok()) << r.status;
  EXPECT_TRUE(Stored(3, Form::kEncoded));
}

TEST_F(PutTest, ContainersGoRound) {
  ASSERT_TRUE(ns_->PutBlocks(Blocks(2), {.form = Form::kEncoded, .profile = "raw"}).ok());
  const std::vector<BlockKey> keys = {Key(0), Key(1)};
  auto containers = ns_->GetContainers(keys, {});
  ASSERT_TRUE(containers.ok()) << containers.status();
  std::vector<PutContainer> puts;
  for (size_t i = 0; i < 2; ++i) {
    ASSERT_TRUE((*containers)[i].status.ok()) << (*containers)[i].status;
    ASSERT_EQ((*containers)[i].containers.size(), 1u);
    auto view = codec::ContainerView::Parse(AsBytes((*containers)[i].containers[0]));
    ASSERT_TRUE(view.ok()) << view.status();
    EXPECT_TRUE(view->VerifyAll().ok());
    EXPECT_EQ(view->header().key, keys[i]);
    puts.push_back({.key = keys[i], .container = AsBytes((*containers)[i].containers[0])});
  }
  daemon_.Forget();
  daemon_.break_put_after = 0;
  auto results = ns_->PutContainers(puts, {});
  ASSERT_TRUE(results.ok()) << results.status();
  for (const PutResult& r : *results) EXPECT_TRUE(r.status.ok()) << r.status;
  EXPECT_TRUE(Stored(2, Form::kEncoded));
}

TEST_F(PutTest, LossyBlocksStayWithinTheirBound) {
  const std::string profile = "kvcomp:rel_k=0.05,rel_v=0.05";
  auto results = ns_->PutBlocks(Blocks(2), {.form = Form::kEncoded, .profile = profile});
  ASSERT_TRUE(results.ok()) << results.status();
  for (const PutResult& r : *results) ASSERT_TRUE(r.status.ok()) << r.status;
  EXPECT_GE(daemon_.codebook_fetches, 1);  // NOT_FOUND, so the built-in set serves
  KvMemory target(model_, PageLayout::kHnd, 64, 64);
  auto got = ns_->GetBlocks(std::vector<GetBlock>{{.key = Key(0), .target = target.Place(0)}},
                            {.form = Form::kEncoded});
  ASSERT_TRUE(got.ok()) << got.status();
  ASSERT_TRUE((*got)[0].status.ok()) << (*got)[0].status;
  const auto value = [](const std::vector<std::byte>& b, size_t i) {
    const uint32_t bits = (uint32_t{static_cast<uint8_t>(b[2 * i + 1])} << 24) |
                          (uint32_t{static_cast<uint8_t>(b[2 * i])} << 16);
    float f;
    std::memcpy(&f, &bits, sizeof f);
    return f;
  };
  bool lossy = false;
  for (Tensor t : {Tensor::kK, Tensor::kV}) {
    const auto x = source_.Tensor3d(0, 0, t);
    const auto y = target.Tensor3d(0, 0, t);
    for (size_t i = 0; i < x.size() / 2; ++i) {
      EXPECT_NEAR(value(x, i), value(y, i), 4.0 * 0.05 / 2 * 1.01 + 0.01);  // values lie within -2 to 2
      lossy = lossy || value(x, i) != value(y, i);
    }
  }
  EXPECT_TRUE(lossy);
  auto strict = ns_->GetBlocks(std::vector<GetBlock>{{.key = Key(0), .target = target.Place(1)}},
                               {.form = Form::kEncoded, .max_error = 0.0});
  ASSERT_TRUE(strict.ok());
  EXPECT_EQ((*strict)[0].status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(Untouched(target, 1, 0));
}

// ---- what the client puts right by itself

class MendTest : public PutTest {
 protected:
  void SetUp() override {
    PutTest::SetUp();
    daemon_.check_put = true;
    SetProfile(kFine);
    daemon_.codebooks = Train(kFine);
    ASSERT_TRUE(ns_->Refresh().ok());
  }
  void SetProfile(const std::string& profile) { daemon_.policy.set_profile(Profile::Parse(profile)->Text()); }
  std::shared_ptr<const codec::CodebookSet> Train(const std::string& profile) {
    codec::CodebookTrainer trainer(model_.Fingerprint(), *Profile::Parse(profile));
    std::vector<uint32_t> counts(256, 1);
    counts[3] = 1000;
    for (uint32_t layer : {0u, 1u}) {
      trainer.Add(layer, Tensor::kK, counts);
      trainer.Add(layer, Tensor::kV, counts);
    }
    return trainer.Build();
  }
  // With OpenPut, as an engine does.
  absl::StatusOr<std::vector<PutResult>> PutByLayers(uint32_t n) {
    auto put = ns_->OpenPut(Blocks(n), {.form = Form::kEncoded});
    if (!put.ok()) return put.status();
    std::vector<BlockPlace> places;
    for (uint32_t i = 0; i < n; ++i) places.push_back(source_.Place(i));
    for (uint32_t layer = 0; layer < 2; ++layer) {
      if (auto s = (*put)->PushLayer(layer, places); !s.ok()) return s;
    }
    return (*put)->Finish();
  }
  static void ExpectStored(const absl::StatusOr<std::vector<PutResult>>& results) {
    ASSERT_TRUE(results.ok()) << results.status();
    for (const PutResult& r : *results) EXPECT_TRUE(r.status.ok()) << r.status;
  }
  static constexpr char kFine[] = "kvcomp:rel_k=0.05,rel_v=0.05";
  static constexpr char kCoarse[] = "kvcomp:rel_k=0.2,rel_v=0.2";
};

TEST_F(MendTest, AMissingCodebookSetIsUploadedOnce) {
  for (const bool by_layers : {false, true}) {
    daemon_.Forget();
    daemon_.codebook_uploads = 0;
    const size_t before = daemon_.put_headers().size();
    ExpectStored(by_layers ? PutByLayers(3) : ns_->PutBlocks(Blocks(3), {.form = Form::kEncoded}));
    EXPECT_EQ(daemon_.codebook_uploads, 1);
    const auto headers = daemon_.put_headers();
    ASSERT_EQ(headers.size(), before + 2);
    EXPECT_EQ(headers[before].put_id(), headers[before + 1].put_id());
    EXPECT_EQ(headers.back().codebook_set(), daemon_.codebooks->id().view());
  }
}

TEST_F(MendTest, ContainersBringTheSetThatTheyName) {
  ExpectStored(ns_->PutBlocks(Blocks(1), {.form = Form::kEncoded}));
  auto got = ns_->GetContainers(std::vector<BlockKey>{Key(0)}, {});
  ASSERT_TRUE(got.ok() && (*got)[0].status.ok()) << got.status();
  const std::vector<PutContainer> put{{.key = Key(0), .container = AsBytes((*got)[0].containers[0])}};
  daemon_.Forget();
  daemon_.codebook_uploads = 0;
  daemon_.codebooks = nullptr;
  ExpectStored(ns_->PutContainers(put, {}));
  EXPECT_EQ(daemon_.codebook_uploads, 1);
}

TEST_F(MendTest, AProfileThatIsNoLongerTheNamespacesIsAskedForAgain) {
  for (const bool by_layers : {false, true}) {
    daemon_.Forget();
    ASSERT_TRUE(ns_->Refresh().ok());
    SetProfile(by_layers ? kFine : kCoarse);  // set-profile behind the client's back
    daemon_.codebooks = nullptr;
    ExpectStored(by_layers ? PutByLayers(2) : ns_->PutBlocks(Blocks(2), {.form = Form::kEncoded}));
    EXPECT_EQ(daemon_.put_headers().back().profile(), daemon_.policy.profile());
  }
  // What the caller names is not changed behind its back, either.
  auto named =
      ns_->PutBlocks(std::vector<PutBlock>{{.key = Key(9), .tokens = 64, .source = source_.Place(0)}},
                     {.form = Form::kEncoded, .profile = kCoarse});
  ASSERT_TRUE(named.ok());
  EXPECT_EQ((*named)[0].reason, v1::REASON_POLICY);
}

TEST_F(MendTest, APutTellsThePoliciesProfile) {
  SetProfile(kCoarse);
  EXPECT_NE(ns_->state().policy.profile(), daemon_.policy.profile());
  ExpectStored(ns_->PutBlocks(Blocks(1), {}));
  EXPECT_EQ(ns_->state().policy.profile(), daemon_.policy.profile());
}

TEST_F(MendTest, AnotherStoresCodebooksAreAskedFor) {
  ClientOptions options = daemon_.Options();
  options.codebook_refresh_ms = 3'600'000;
  Open(options);
  ExpectStored(ns_->PutBlocks(Blocks(1), {.form = Form::kEncoded}));
  EXPECT_EQ(daemon_.put_headers().back().codebook_set(), daemon_.codebooks->id().view());
  daemon_.Forget();
  daemon_.codebooks = nullptr;
  ASSERT_TRUE(ns_->Refresh().ok());
  ExpectStored(ns_->PutBlocks(Blocks(1), {.form = Form::kEncoded}));
  EXPECT_EQ(daemon_.put_headers().back().codebook_set(), "");
}

TEST_F(PutTest, TheErrorClassSaysWhatMaxErrorTakes) {
  const PutOptions kvcomp{.form = Form::kEncoded, .profile = "kvcomp:rel_k=0.05,rel_v=0.05"};
  std::optional<float> announced;
  daemon_.edit_get = [&](std::vector<v1::GetResponse>* responses) {
    for (auto& response : *responses) {
      for (auto& chunk : *response.mutable_chunks()) {
        const bool header = chunk.container_part() == v1::CONTAINER_HEADER;
        if (header && announced.has_value()) chunk.set_error_class(*announced);
      }
    }
  };
  const auto get = [&](uint32_t block, double max_error, KvMemory* target) {
    auto got = ns_->GetBlocks(std::vector<GetBlock>{{.key = Key(block), .target = target->Place(block)}},
                              {.form = Form::kEncoded, .max_error = max_error});
    return got.ok() ? (*got)[0].status : got.status();
  };
  source_.FillNan();
  ASSERT_TRUE((*ns_->PutBlocks(Blocks(1), kvcomp))[0].status.ok());
  KvMemory target(model_, PageLayout::kHnd, 64, 64);
  // A daemon that announces no class: the header's bound counts.
  EXPECT_EQ(get(0, 0, &target).code(), absl::StatusCode::kFailedPrecondition);
  announced = 0.0f;  // all tiles are raw
  EXPECT_EQ(get(0, 0, &target), absl::OkStatus());
  EXPECT_TRUE(SameBlock(source_, 0, target, 0));
  announced = 0.7f;  // neither 0 nor the bound
  EXPECT_EQ(get(0, 1, &target).code(), absl::StatusCode::kDataLoss);

  source_.Fill(1);
  ASSERT_TRUE((*ns_->PutBlocks(Blocks(2), kvcomp))[1].status.ok());
  announced = 0.0f;  // a lie: its tiles are not raw
  EXPECT_EQ(get(1, 0, &target).code(), absl::StatusCode::kDataLoss);
  announced = 0.025f;
  EXPECT_EQ(get(1, 0.025, &target), absl::OkStatus());
  EXPECT_EQ(get(1, 0.01, &target).code(), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace kvcompd::client
