#include "client/get_stream.h"

#include <gtest/gtest.h>

#include <functional>
#include <set>
#include <tuple>

#include "client/client.h"
#include "codec/base/chain_hash.h"
#include "codec/base/crc32c.h"
#include "tests/client/fake_daemon.h"
#include "tests/client/kv_memory.h"

namespace kvcompd::client {
namespace {

constexpr uint32_t kBlocks = 3;
constexpr uint32_t kLayers = 2;

class GetTest : public ::testing::Test {
 protected:
  void SetUp() override {
    source_.Fill(5);
    client_ = *Client::Connect(daemon_.Options());
    ns_ = *client_->OpenNamespace(model_);
    std::vector<PutBlock> blocks;
    for (uint32_t i = 0; i < kBlocks; ++i)
      blocks.push_back({.key = Key(i), .tokens = 64, .source = source_.Place(i)});
    auto put = ns_->PutBlocks(blocks, {.form = form_, .profile = "raw"});
    ASSERT_TRUE(put.ok()) << put.status();
    for (const PutResult& r : *put) generations_.push_back(r.generation);
  }
  static BlockKey Key(uint32_t i) { return ChainHash({}, std::vector<uint32_t>{i}); }
  std::vector<GetBlock> Blocks() {
    std::vector<GetBlock> out;
    for (uint32_t i = 0; i < kBlocks; ++i) out.push_back({.key = Key(i), .target = target_.Place(i)});
    return out;
  }
  std::vector<GetResult> Get(const GetOptions& options = {}) {
    done_.clear();
    auto results = ns_->GetBlocks(Blocks(), options, [this](const LayerDone& d) { done_.push_back(d); });
    EXPECT_TRUE(results.ok()) << results.status();
    return results.ok() ? *results : std::vector<GetResult>(kBlocks);
  }
  // Layers reported OK, each once and in order for its block.
  void ExpectDelivered(uint32_t block, uint32_t layers) {
    uint32_t next = 0;
    for (const LayerDone& d : done_) {
      if (d.block != block || !d.status.ok()) continue;
      EXPECT_EQ(d.layer, next++);
    }
    EXPECT_EQ(next, layers);
  }
  // One fault in the first block: it fails at layer 1, the other blocks are whole, and its first layer stays.
  void ExpectFirstBlockFails(const std::function<void(v1::GetResponse*)>& fault, absl::StatusCode code) {
    target_ = KvMemory(model_, PageLayout::kHnd, 32, 16);
    daemon_.edit_get = [&fault](std::vector<v1::GetResponse>* messages) {
      for (v1::GetResponse& m : *messages) {
        if (m.layer_results(0).block() == 0 && m.layer_results(0).layer() == 1) fault(&m);
      }
    };
    const int gets = daemon_.gets;
    const std::vector<GetResult> results = Get({.form = form_});
    EXPECT_EQ(results[0].status.code(), code) << results[0].status;
    EXPECT_EQ(results[0].layers, 1u);
    ExpectDelivered(0, 1);
    for (uint32_t i = 1; i < kBlocks; ++i) {
      EXPECT_TRUE(results[i].status.ok()) << results[i].status;
      EXPECT_TRUE(SameBlock(source_, i, target_, i));
      ExpectDelivered(i, kLayers);
    }
    EXPECT_EQ(source_.Tensor3d(0, 0, Tensor::kK), target_.Tensor3d(0, 0, Tensor::kK));
    EXPECT_EQ(daemon_.gets, gets + 1);  // corruption is not tried again behind the caller's back
  }

  Form form_ = Form::kDecoded;
  ModelDescriptor model_ = TestModel();
  FakeDaemon daemon_{model_};
  KvMemory source_{model_, PageLayout::kNhd, 16, 16};
  KvMemory target_{model_, PageLayout::kHnd, 32, 16};
  std::unique_ptr<Client> client_;
  std::shared_ptr<NamespaceHandle> ns_;
  std::vector<Generation> generations_;
  std::vector<LayerDone> done_;
};

class EncodedGetTest : public GetTest {
 protected:
  EncodedGetTest() { form_ = Form::kEncoded; }
};

TEST_F(GetTest, AllLayersOfAllBlocks) {
  const std::vector<GetResult> results = Get();
  for (uint32_t i = 0; i < kBlocks; ++i) {
    EXPECT_TRUE(results[i].status.ok()) << results[i].status;
    EXPECT_EQ(results[i].layers, kLayers);
    EXPECT_EQ(results[i].tokens, 64u);
    EXPECT_EQ(results[i].generation, generations_[i]);
    EXPECT_TRUE(SameBlock(source_, i, target_, i));
    ExpectDelivered(i, kLayers);
  }
  // Layer-major.
  for (size_t i = 0; i < done_.size(); ++i) EXPECT_EQ(done_[i].layer, i / kBlocks);
}

TEST_F(GetTest, HeadsAndLayersAndTensorsThatWereAskedFor) {
  AttentionGroup part = model_.groups[0];
  part.kv_heads = 2;
  part.layers = {1};
  ModelDescriptor shape = model_;
  shape.groups = {part};
  KvMemory target(shape, PageLayout::kNhd, 64, 4);
  auto results = ns_->GetBlocks(std::vector<GetBlock>{{.key = Key(1), .target = target.Place(0)}},
                                {.shard = {.head_begin = 1, .head_count = 2, .layer_begin = 1}, .v = false});
  ASSERT_TRUE(results.ok()) << results.status();
  ASSERT_TRUE((*results)[0].status.ok()) << (*results)[0].status;
  const auto all = source_.Tensor3d(1, 1, Tensor::kK);
  const std::vector<std::byte> last_two(all.begin() + static_cast<std::ptrdiff_t>(all.size() / 3), all.end());
  EXPECT_EQ(target.Tensor3d(0, 0, Tensor::kK), last_two);
  for (std::byte b : target.Tensor3d(0, 0, Tensor::kV)) ASSERT_EQ(b, KvMemory::kCanary);
}

// A stream that broke within the first layer has delivered nothing: whatever is stored by now will do.
TEST_F(GetTest, ABlockThatWasReplacedBeforeItsFirstLayerIsReadAnew) {
  int gets = 0;
  daemon_.edit_get = [&](std::vector<v1::GetResponse>* messages) {
    if (++gets == 1) {
      // Half of the first layer of the first block, and then the stream breaks.
      v1::GetResponse half = messages->front();
      half.clear_layer_results();
      *messages = {half, half};
      daemon_.break_get_after = 1;
    } else {
      for (v1::GetResponse& m : *messages) {
        for (v1::GetChunk& chunk : *m.mutable_chunks()) {
          chunk.mutable_generation()->set_counter(chunk.generation().counter() + 100);
        }
      }
    }
  };
  const std::vector<GetResult> results = Get();
  EXPECT_EQ(gets, 2);
  for (uint32_t i = 0; i < kBlocks; ++i) {
    EXPECT_TRUE(results[i].status.ok()) << results[i].status;
    EXPECT_EQ(results[i].generation.counter, generations_[i].counter + 100);
  }
}

TEST_F(GetTest, ABrokenStreamGoesOnWithoutTwiceTheSame) {
  for (int after = 0; after <= 6; ++after) {
    target_ = KvMemory(model_, PageLayout::kHnd, 32, 16);
    daemon_.break_get_after = after;
    const std::vector<GetResult> results = Get();
    for (uint32_t i = 0; i < kBlocks; ++i) {
      EXPECT_TRUE(results[i].status.ok()) << results[i].status;
      EXPECT_TRUE(SameBlock(source_, i, target_, i)) << after;
      ExpectDelivered(i, kLayers);
    }
  }
  // The stream that broke after five of six messages asked again for one layer of one block, by generation.
  bool found = false;
  for (const v1::GetRequest& request : daemon_.get_requests()) {
    if (request.blocks_size() != 1 || request.shard().layer_begin() != 1) continue;
    found = true;
    EXPECT_EQ(request.shard().layer_count(), 1u);
    EXPECT_EQ(request.blocks(0).generation().counter(), generations_[2].counter);
  }
  EXPECT_TRUE(found);
}

TEST_F(GetTest, ABlockReplacedBetweenTwoStreamsIsNotMixed) {
  daemon_.break_get_after = 3;  // layer 0 of all blocks is there
  std::atomic<int> calls{0};
  daemon_.before = [this, &calls](const std::string& method) {
    if (method == "Get" && ++calls == 2) {
      daemon_.edit_get = [](std::vector<v1::GetResponse>* messages) {
        for (v1::GetResponse& m : *messages) {
          for (auto& chunk : *m.mutable_chunks()) {
            if (chunk.block() == 1) chunk.mutable_generation()->set_counter(999);
          }
        }
      };
    }
    return grpc::Status::OK;
  };
  const std::vector<GetResult> results = Get();
  EXPECT_TRUE(results[0].status.ok());
  EXPECT_EQ(results[1].status.code(), absl::StatusCode::kAborted);
  EXPECT_EQ(results[1].reason, v1::REASON_GENERATION);
  EXPECT_EQ(results[1].layers, 1u);
  EXPECT_TRUE(results[2].status.ok());
}

TEST_F(GetTest, MissesAreOfTheirBlockAlone) {
  auto deleted = ns_->Delete(std::vector<BlockKey>{Key(1)});
  ASSERT_TRUE(deleted.ok() && (*deleted)[0]);
  const std::vector<GetResult> results = Get();
  EXPECT_TRUE(results[0].status.ok() && results[2].status.ok());
  EXPECT_EQ(results[1].status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(results[1].reason, v1::REASON_NOT_STORED);
  EXPECT_EQ(results[1].layers, 0u);
  EXPECT_TRUE(Untouched(target_, 1, 0) && Untouched(target_, 1, 1));
}

TEST_F(GetTest, AFlippedByteIsDataLoss) {
  ExpectFirstBlockFails([](auto* m) { (*m->mutable_data())[m->data().size() - 1] ^= 1; },
                        absl::StatusCode::kDataLoss);
  ExpectFirstBlockFails([](auto* m) { m->mutable_chunks(0)->set_crc32c(m->chunks(0).crc32c() ^ 1); },
                        absl::StatusCode::kDataLoss);
  // The piece with the wrong CRC was not written.
  EXPECT_EQ(target_.Tensor3d(0, 1, Tensor::kK)[0], KvMemory::kCanary);
}

TEST_F(GetTest, PiecesThatDoNotFitAreDataLoss) {
  const auto kLoss = absl::StatusCode::kDataLoss;
  ExpectFirstBlockFails([](auto* m) { m->mutable_chunks(1)->set_offset(0); }, kLoss);
  ExpectFirstBlockFails([](auto* m) { m->mutable_chunks(1)->set_offset(2000); }, kLoss);
  ExpectFirstBlockFails([](auto* m) { m->mutable_chunks(1)->set_offset(UINT64_MAX); }, kLoss);
  ExpectFirstBlockFails([](auto* m) { m->mutable_chunks(0)->set_offset(1); }, kLoss);
  ExpectFirstBlockFails([](auto* m) { m->mutable_chunks(0)->set_total_bytes(500); }, kLoss);
  ExpectFirstBlockFails([](auto* m) { m->mutable_chunks(0)->set_total_bytes(UINT64_MAX); }, kLoss);
  ExpectFirstBlockFails([](auto* m) { m->mutable_chunks(0)->set_tokens(63); }, kLoss);
  ExpectFirstBlockFails([](auto* m) { m->mutable_chunks(0)->set_tokens(0); }, kLoss);
  ExpectFirstBlockFails([](auto* m) { m->mutable_chunks(0)->set_head_begin(3); }, kLoss);
  ExpectFirstBlockFails([](auto* m) { m->mutable_chunks(0)->set_head_count(UINT32_MAX); }, kLoss);
  ExpectFirstBlockFails([](auto* m) { m->mutable_chunks(0)->set_layer(2); }, kLoss);
  ExpectFirstBlockFails([](auto* m) { m->mutable_chunks(0)->set_tensor(v1::TENSOR_UNSPECIFIED); }, kLoss);
  ExpectFirstBlockFails([](auto* m) { m->mutable_chunks(0)->set_form(v1::FORM_ENCODED); }, kLoss);
  ExpectFirstBlockFails([](auto* m) { m->mutable_layer_results(0)->set_layer(7); }, kLoss);
  ExpectFirstBlockFails([](auto* m) { m->mutable_chunks(0)->mutable_generation()->set_counter(99); },
                        absl::StatusCode::kAborted);
}

TEST_F(GetTest, AHeadSentTwiceOrNotAtAllIsDataLoss) {
  ExpectFirstBlockFails(
      [](auto* m) {
        for (auto& chunk : *m->mutable_chunks()) chunk.set_head_begin(0);
      },
      absl::StatusCode::kDataLoss);
  ExpectFirstBlockFails(
      [](auto* m) {
        // The last piece never comes: V lacks its end.
        const auto& last = m->chunks(m->chunks_size() - 1);
        m->mutable_data()->resize(m->data().size() - last.bytes());
        m->mutable_chunks()->RemoveLast();
      },
      absl::StatusCode::kDataLoss);
  ExpectFirstBlockFails(
      [](auto* m) {
        m->clear_chunks();
        m->clear_data();
      },
      absl::StatusCode::kDataLoss);
}

TEST_F(GetTest, AMessageThatDoesNotAddUpFailsTheCall) {
  const std::function<void(v1::GetResponse*)> faults[] = {
      [](auto* m) { m->mutable_data()->push_back('x'); },
      [](auto* m) { m->mutable_data()->pop_back(); },
      [](auto* m) { m->mutable_chunks(0)->set_bytes(UINT64_MAX); },
      [](auto* m) { m->mutable_chunks(0)->set_block(kBlocks); },
      [](auto* m) { m->mutable_layer_results(0)->set_block(kBlocks); },
  };
  for (const auto& fault : faults) {
    daemon_.edit_get = [&fault](std::vector<v1::GetResponse>* messages) { fault(&messages->front()); };
    for (const GetResult& r : Get()) {
      EXPECT_EQ(r.status.code(), absl::StatusCode::kDataLoss);
      EXPECT_EQ(r.layers, 0u);
    }
  }
}

TEST_F(GetTest, ADaemonThatStopsShortIsNotBelieved) {
  daemon_.edit_get = [](std::vector<v1::GetResponse>* messages) { messages->resize(4); };
  const std::vector<GetResult> results = Get();
  EXPECT_TRUE(results[0].status.ok());
  EXPECT_EQ(results[1].status.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(results[1].layers, 1u);
}

TEST_F(GetTest, DeadlinesEndAGetFromADaemonThatDoesNotAnswer) {
  daemon_.break_get_after = 2;
  daemon_.before = [this](const std::string& method) {
    return method == "Get" && daemon_.gets > 1 ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "down")
                                               : grpc::Status::OK;
  };
  SteadyClock clock;
  const int64_t start_us = clock.NowUs();
  const std::vector<GetResult> results = Get({.deadline_ms = 300});
  EXPECT_LT(clock.NowUs() - start_us, 20'000'000);
  EXPECT_EQ(results[0].layers, 1u);
  EXPECT_TRUE(results[0].status.code() == absl::StatusCode::kUnavailable ||
              results[0].status.code() == absl::StatusCode::kDeadlineExceeded);
}

TEST_F(GetTest, MistakesAreFoundBeforeTheDaemonIsAsked) {
  const int gets = daemon_.gets;
  const auto code = [this](const std::vector<GetBlock>& blocks, const GetOptions& options = {}) {
    return ns_->GetBlocks(blocks, options).status().code();
  };
  const auto kInvalid = absl::StatusCode::kInvalidArgument;
  EXPECT_EQ(code({}), kInvalid);
  EXPECT_EQ(code({{.key = Key(0)}}), kInvalid);
  EXPECT_EQ(code(Blocks(), {.shard = {.layer_begin = 2}}), kInvalid);
  EXPECT_EQ(code(Blocks(), {.shard = {.head_count = 1}}), kInvalid);
  EXPECT_EQ(code(Blocks(), {.k = false, .v = false}), kInvalid);
  EXPECT_EQ(daemon_.gets, gets);
}

TEST_F(EncodedGetTest, SegmentsDecodeOnThisSide) {
  const std::vector<GetResult> results = Get({.form = Form::kEncoded});
  for (uint32_t i = 0; i < kBlocks; ++i) {
    EXPECT_TRUE(results[i].status.ok()) << results[i].status;
    EXPECT_TRUE(SameBlock(source_, i, target_, i));
  }
  for (const LayerDone& d : done_) EXPECT_EQ(d.form, Form::kEncoded);
}

TEST_F(EncodedGetTest, ABrokenStreamGoesOn) {
  for (int after = 0; after <= 6; ++after) {
    target_ = KvMemory(model_, PageLayout::kHnd, 32, 16);
    daemon_.break_get_after = after;
    const std::vector<GetResult> results = Get({.form = Form::kEncoded});
    for (uint32_t i = 0; i < kBlocks; ++i) {
      EXPECT_TRUE(results[i].status.ok()) << results[i].status;
      EXPECT_TRUE(SameBlock(source_, i, target_, i));
      ExpectDelivered(i, kLayers);
    }
  }
}

// Bytes changed with the CRC of the piece made right again, so that the container's own checks must find it.
void Tamper(v1::GetResponse* m, int chunk, size_t at) {
  size_t begin = 0;
  for (int i = 0; i < chunk; ++i) begin += m->chunks(i).bytes();
  (*m->mutable_data())[begin + at] ^= 0x10;
  m->mutable_chunks(chunk)->set_crc32c(Crc32c(AsBytes(m->data().substr(begin, m->chunks(chunk).bytes()))));
}

TEST_F(EncodedGetTest, EveryPartOfASegmentIsChecked) {
  const auto kLoss = absl::StatusCode::kDataLoss;
  ExpectFirstBlockFails([](auto* m) { Tamper(m, 0, 70); }, kLoss);   // index
  ExpectFirstBlockFails([](auto* m) { Tamper(m, 2, 500); }, kLoss);  // payload
  ExpectFirstBlockFails([](auto* m) { m->mutable_chunks(0)->set_head_count(2); }, kLoss);
}

TEST_F(EncodedGetTest, ASegmentOfAnotherBlockIsDataLoss) {
  daemon_.edit_get = [](std::vector<v1::GetResponse>* messages) {
    // Layer 1 of block 1 as if it were of block 0: all CRCs of the pieces are right.
    v1::GetResponse* first = nullptr;
    for (v1::GetResponse& m : *messages) {
      if (m.layer_results(0).layer() != 1) continue;
      if (m.layer_results(0).block() == 0) first = &m;
      if (m.layer_results(0).block() == 1) {
        const Generation generation{first->chunks(0).generation().epoch(),
                                    first->chunks(0).generation().counter()};
        *first = m;
        for (auto& chunk : *first->mutable_chunks()) {
          chunk.set_block(0);
          chunk.mutable_generation()->set_epoch(generation.epoch);
          chunk.mutable_generation()->set_counter(generation.counter);
        }
        first->mutable_layer_results(0)->set_block(0);
      }
    }
  };
  const std::vector<GetResult> results = Get({.form = Form::kEncoded});
  EXPECT_EQ(results[0].status.code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(results[0].layers, 1u);
  EXPECT_TRUE(Untouched(target_, 0, 1));
  EXPECT_TRUE(results[1].status.ok());
}

TEST_F(EncodedGetTest, AHeaderOfAnotherBlockIsDataLoss) {
  daemon_.edit_get = [](std::vector<v1::GetResponse>* messages) {
    v1::GetResponse& m = messages->front();
    Tamper(&m, 0, 60);
  };
  const std::vector<GetResult> results = Get({.form = Form::kEncoded});
  EXPECT_EQ(results[0].status.code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(Untouched(target_, 0, 0));
  EXPECT_TRUE(results[1].status.ok());
}

TEST_F(EncodedGetTest, SegmentsAsTheyAre) {
  std::multiset<std::tuple<uint32_t, uint32_t, Tensor>> seen;
  daemon_.break_get_after = 4;
  GetOptions options{.form = Form::kEncoded};
  options.on_segment = [&seen](const EncodedSegment& s) {
    EXPECT_TRUE(s.view.Verify(s.place, 0, s.view.shape().heads).ok());
    EXPECT_EQ(s.header->key, Key(s.block));
    seen.insert({s.block, s.layer, s.tensor});
    return absl::OkStatus();
  };
  const std::vector<GetResult> results = Get(options);
  for (const GetResult& r : results) EXPECT_TRUE(r.status.ok()) << r.status;
  EXPECT_EQ(seen.size(), kBlocks * kLayers * 2);
  EXPECT_EQ(std::set(seen.begin(), seen.end()).size(), seen.size());  // none twice
  EXPECT_TRUE(Untouched(target_, 0, 0));
}

TEST_F(EncodedGetTest, AnEncodedAnswerToADecodedQuestionIsDataLoss) {
  for (const GetResult& r : Get({.form = Form::kDecoded}))
    EXPECT_EQ(r.status.code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace kvcompd::client
