// Growing KV: token by token equals one put of the same values; gaps, overlaps, tails, seals and lifetimes.
#include "server/service/sequence_calls.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "codec/base/crc32c.h"
#include "proto/bulk.h"
#include "proto/convert.h"
#include "server/service/get_producer.h"
#include "tests/server/service/service_fixture.h"

namespace kvcompd::server {
namespace {

// Block b of the sequence has the values of sample block kFirst + b.
constexpr int kFirst = 20;

class SequenceCallsTest : public ServiceTest {
 public:
  std::string OpenSequence(const ShardRange& shard = WholeShard(), uint32_t ttl_ms = 0) {
    v1::OpenSequenceRequest request;
    request.set_namespace_id(ns_);
    *request.mutable_shard() = ToProto(shard);
    request.set_ttl_ms(ttl_ms);
    v1::OpenSequenceResponse response;
    const absl::Status status = KVCOMPD_CALL(OpenSequence, request, &response);
    EXPECT_TRUE(status.ok()) << status;
    return response.sequence();
  }
  // Rows of tokens [first, first + tokens) over block boundaries.
  static std::string Rows(uint64_t first, uint32_t tokens, const ShardRange& shard) {
    std::string out;
    for (uint32_t l = 0; l < shard.layer_count; ++l) {
      for (Tensor tensor : {Tensor::kK, Tensor::kV}) {
        for (uint32_t h = 0; h < shard.head_count; ++h) {
          const ShardRange head{0, shard.head_begin + h, 1, 0, kLayers};
          for (uint64_t t = first; t < first + tokens;) {
            const uint32_t in_block = static_cast<uint32_t>(t % kTokens);
            const uint32_t n =
                static_cast<uint32_t>(std::min<uint64_t>(kTokens - in_block, first + tokens - t));
            out += ExpectedValues(kFirst + static_cast<int>(t / kTokens), head, shard.layer_begin + l, tensor,
                                  n, in_block);
            t += n;
          }
        }
      }
    }
    return out;
  }
  v1::AppendRequest AppendOf(const std::string& sequence, uint64_t first, uint32_t tokens,
                             const ShardRange& shard = WholeShard()) {
    v1::AppendRequest request;
    request.set_namespace_id(ns_);
    request.set_sequence(sequence);
    request.set_first_token(first);
    request.set_tokens(tokens);
    for (uint64_t b = first / kTokens; b < (first + tokens) / kTokens; ++b) {
      request.add_block_keys(KeyOf(kFirst + static_cast<int>(b)));
    }
    request.set_data(Rows(first, tokens, shard));
    request.set_crc32c(Crc32c(AsBytes(request.data())));
    return request;
  }
  absl::Status Append(const v1::AppendRequest& request, v1::AppendResponse* response) {
    response->Clear();
    return KVCOMPD_CALL(Append, request, response);
  }
  void MustAppend(const std::string& sequence, uint64_t first, uint32_t tokens,
                  const ShardRange& shard = WholeShard()) {
    const absl::Status status = Append(AppendOf(sequence, first, tokens, shard), &response_);
    ASSERT_TRUE(status.ok()) << status;
  }
  // last < 0: drops the tail.
  absl::Status Seal(const std::string& sequence, int last, uint64_t tokens, v1::SealResponse* response) {
    v1::SealRequest request;
    request.set_namespace_id(ns_);
    request.set_sequence(sequence);
    if (last >= 0) request.set_last_key(KeyOf(last));
    request.set_tokens(tokens);
    response->Clear();
    return KVCOMPD_CALL(Seal, request, response);
  }
  void ExpectBlock(int block, uint32_t tokens = kTokens) {
    const Got got = Get(GetOf(ns_, {block}));
    EXPECT_EQ(got.LayersOf(0), kLayers) << got.BlockStatus(0);
    for (uint32_t l = 0; l < kLayers; ++l) {
      for (Tensor tensor : {Tensor::kK, Tensor::kV}) {
        EXPECT_EQ(got.Values(0, l, tensor), ExpectedValues(block, WholeShard(), l, tensor, tokens)) << block;
      }
    }
  }

  std::string ns_ = Open();
  v1::AppendResponse response_;
};

TEST_F(SequenceCallsTest, TokenByTokenOverTwoBlocksEqualsAPut) {
  const std::string sequence = OpenSequence();
  for (uint32_t t = 0; t < 2 * kTokens + 3; ++t) {
    ASSERT_NO_FATAL_FAILURE(MustAppend(sequence, t, 1));
    EXPECT_EQ(response_.tokens(), t + 1);
    EXPECT_EQ(response_.committed_tokens(), (t + 1) / kTokens * kTokens);
    EXPECT_EQ(response_.committed_size(), (t + 1) % kTokens == 0 ? 1 : 0);
  }
  ExpectBlock(kFirst);
  ExpectBlock(kFirst + 1);
  EXPECT_EQ(Matched(ns_, {kFirst, kFirst + 1}), 2u);
  EXPECT_FALSE(Exists(ns_, kFirst + 2));
  // The same values put at once have the same bytes.
  const std::string other = Open("other");
  ASSERT_TRUE(Put({.ns = other, .blocks = {kFirst}}).ok());
  const auto key = *BlockKey::FromBytes(KeyOf(kFirst));
  const auto a = store().Lookup(store().FindNamespace(ns_), key);
  const auto b = store().Lookup(store().FindNamespace(other), key);
  ASSERT_TRUE(a.has_value() && b.has_value());
  EXPECT_EQ(AsChars(a->shards[0]->container()), AsChars(b->shards[0]->container()));
}

TEST_F(SequenceCallsTest, OneAppendMayFillSeveralBlocks) {
  const std::string sequence = OpenSequence();
  ASSERT_NO_FATAL_FAILURE(MustAppend(sequence, 0, 10));
  ASSERT_NO_FATAL_FAILURE(MustAppend(sequence, 10, 3 * kTokens));
  EXPECT_EQ(response_.committed_size(), 3);
  EXPECT_EQ(response_.tokens(), 3 * kTokens + 10);
  for (uint32_t b = 0; b < 3; ++b) {
    EXPECT_EQ(response_.committed(static_cast<int>(b)).block(), b);
    ExpectBlock(kFirst + static_cast<int>(b));
  }
}

TEST_F(SequenceCallsTest, AGapIsRefusedAndAnOverlapSkipped) {
  const std::string sequence = OpenSequence();
  ASSERT_NO_FATAL_FAILURE(MustAppend(sequence, 0, 10));
  const absl::Status gap = Append(AppendOf(sequence, 11, 1), &response_);
  EXPECT_TRUE(absl::IsFailedPrecondition(gap)) << gap;
  EXPECT_NE(gap.message().find("10"), absl::string_view::npos) << gap;
  EXPECT_EQ(Rejected("gap"), 1);
  ASSERT_NO_FATAL_FAILURE(MustAppend(sequence, 5, 10));
  EXPECT_EQ(response_.tokens(), 15u);
  ASSERT_NO_FATAL_FAILURE(MustAppend(sequence, 5, 10));
  EXPECT_EQ(response_.tokens(), 15u);
  // Tokens held already are not written again, whatever the repeat brings.
  v1::AppendRequest lie = AppendOf(sequence, 0, 15);
  lie.set_data(std::string(lie.data().size(), '\x3f'));
  lie.set_crc32c(Crc32c(AsBytes(lie.data())));
  EXPECT_TRUE(Append(lie, &response_).ok());
  ASSERT_NO_FATAL_FAILURE(MustAppend(sequence, 0, kTokens));
  EXPECT_EQ(response_.committed_size(), 1);
  const v1::PutResult first = response_.committed(0);
  EXPECT_FALSE(first.already_stored());
  ASSERT_NO_FATAL_FAILURE(MustAppend(sequence, 0, kTokens));
  ASSERT_EQ(response_.committed_size(), 1) << "a repeat is told again";
  EXPECT_TRUE(response_.committed(0).already_stored());
  EXPECT_EQ(response_.committed(0).block(), 0u);
  EXPECT_EQ(response_.committed(0).generation().counter(), first.generation().counter());
  EXPECT_EQ(response_.committed(0).encoded_bytes(), first.encoded_bytes());
  v1::AppendRequest other_key = AppendOf(sequence, 0, kTokens);
  other_key.set_block_keys(0, KeyOf(1));
  EXPECT_TRUE(absl::IsFailedPrecondition(Append(other_key, &response_)));
  ASSERT_NO_FATAL_FAILURE(MustAppend(sequence, 0, kTokens));
  EXPECT_EQ(response_.committed_tokens(), kTokens);
  ExpectBlock(kFirst);
  ASSERT_NO_FATAL_FAILURE(MustAppend(sequence, 60, 10));
  EXPECT_EQ(response_.tokens(), 70u);
}

TEST_F(SequenceCallsTest, BadAppends) {
  const std::string sequence = OpenSequence();
  const auto expect = [&](const std::function<void(v1::AppendRequest*)>& change, absl::StatusCode code,
                          const std::string& text) {
    v1::AppendRequest request = AppendOf(sequence, 0, 4);
    change(&request);
    const absl::Status status = Append(request, &response_);
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_NE(status.message().find(text), absl::string_view::npos) << status;
  };
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  expect([](auto* r) { r->set_tokens(0); }, kInvalid, "at least one token");
  expect([](auto* r) { r->add_block_keys(KeyOf(1)); }, kInvalid, "block_keys names 1");
  expect([](auto* r) { r->set_tokens(UINT32_MAX); }, kInvalid, "block_keys names 0");
  expect([](auto* r) { r->set_first_token(UINT64_MAX); }, kInvalid, "too large");
  expect([](auto* r) { r->set_tokens(5); }, kInvalid, "");
  expect([](auto* r) { r->set_crc32c(1); }, absl::StatusCode::kDataLoss, "send them again");
  expect(
      [](auto* r) {
        r->clear_data();
        r->set_crc32c(0);
      },
      kInvalid, "");
  expect([](auto* r) { r->set_sequence("nobody"); }, absl::StatusCode::kNotFound, "sequence");
  expect([](auto* r) { r->set_namespace_id("nobody"); }, absl::StatusCode::kFailedPrecondition,
         "OpenNamespace");
  EXPECT_EQ(Rejected("malformed"), 6);
  ASSERT_NO_FATAL_FAILURE(MustAppend(sequence, 0, 4));
  EXPECT_EQ(response_.tokens(), 4u) << "nothing of the bad ones was taken";
}

TEST_F(SequenceCallsTest, OnlyTheHandleReadsTheTail) {
  const std::string sequence = OpenSequence();
  ASSERT_NO_FATAL_FAILURE(MustAppend(sequence, 0, kTokens + 7));
  v1::GetRequest request = GetOf(ns_, {kFirst});
  request.set_sequence(sequence);
  for (v1::Form form : {v1::FORM_DECODED, v1::FORM_ENCODED}) {
    request.set_form(form);
    const Got got = Get(request);
    EXPECT_EQ(got.LayersOf(0), kLayers);
    EXPECT_EQ(got.LayersOf(1), kLayers);
    for (Tensor tensor : {Tensor::kK, Tensor::kV}) {
      EXPECT_EQ(got.Values(1, 2, tensor), ExpectedValues(kFirst + 1, WholeShard(), 2, tensor, 7));
    }
    for (const auto& chunk : got.chunks) {
      if (chunk.block() == 1) {
        EXPECT_EQ(chunk.form(), v1::FORM_DECODED);
        EXPECT_EQ(chunk.tokens(), 7u);
      }
    }
  }
  // Some heads of one layer; and nothing for another tenant or another handle.
  v1::GetRequest part;
  part.set_namespace_id(ns_);
  part.set_form(v1::FORM_DECODED);
  part.set_sequence(sequence);
  *part.mutable_shard() = ToProto(ShardRange{0, 1, 2, 3, 1});
  const Got some = Get(part);
  EXPECT_EQ(some.Values(0, 3, Tensor::kK),
            ExpectedValues(kFirst + 1, {0, 1, 2, 0, kLayers}, 3, Tensor::kK, 7));
  part.set_namespace_id(Open("rival"));
  EXPECT_TRUE(absl::IsNotFound(Get(part).BlockStatus(0)));
  part.set_namespace_id(ns_);
  part.set_sequence("nobody");
  EXPECT_TRUE(absl::IsNotFound(Get(part).BlockStatus(0)));
}

TEST_F(SequenceCallsTest, SealKeepsOrDropsTheTail) {
  std::string sequence = OpenSequence();
  ASSERT_NO_FATAL_FAILURE(MustAppend(sequence, 0, kTokens + 7));
  v1::SealResponse sealed;
  ASSERT_TRUE(Seal(sequence, kFirst + 1, kTokens + 7, &sealed).ok());
  EXPECT_EQ(sealed.tokens(), kTokens + 7);
  EXPECT_FALSE(sealed.last().already_stored());
  ExpectBlock(kFirst + 1, 7);
  EXPECT_EQ(Matched(ns_, {kFirst, kFirst + 1}), 2u);
  EXPECT_TRUE(absl::IsFailedPrecondition(Append(AppendOf(sequence, 71, 1), &response_)));

  sequence = OpenSequence();
  ASSERT_NO_FATAL_FAILURE(MustAppend(sequence, 0, 7));
  ASSERT_TRUE(Seal(sequence, -1, 0, &sealed).ok());
  EXPECT_FALSE(sealed.has_last());
  EXPECT_EQ(sealed.tokens(), 0u);
  EXPECT_EQ(store().stats().tail_bytes, 0u);
}

TEST_F(SequenceCallsTest, ASealIsAnsweredAgainUntilTheTtlEnds) {
  const std::string sequence = OpenSequence(WholeShard(), 1000);
  ASSERT_NO_FATAL_FAILURE(MustAppend(sequence, 0, 7));
  v1::SealResponse first, again;
  ASSERT_TRUE(Seal(sequence, kFirst, 7, &first).ok());
  EXPECT_EQ(store().stats().tail_bytes, 0u);
  Advance(999);
  ASSERT_TRUE(Seal(sequence, kFirst, 7, &again).ok());
  EXPECT_TRUE(again.last().already_stored());
  EXPECT_EQ(again.tokens(), 7u);
  EXPECT_EQ(again.last().generation().counter(), first.last().generation().counter());
  EXPECT_EQ(again.last().encoded_bytes(), first.last().encoded_bytes());
  EXPECT_TRUE(absl::IsFailedPrecondition(Seal(sequence, kFirst + 1, 7, &again)));
  EXPECT_TRUE(absl::IsFailedPrecondition(Seal(sequence, -1, 0, &again)));
  v1::GetRequest tail;
  tail.set_namespace_id(ns_);
  tail.set_form(v1::FORM_DECODED);
  tail.set_sequence(sequence);
  EXPECT_TRUE(absl::IsNotFound(Get(tail).BlockStatus(0)));
  Advance(1);
  EXPECT_TRUE(absl::IsNotFound(Seal(sequence, kFirst, 7, &again)));
}

TEST_F(SequenceCallsTest, ASealThatStandsForOtherTokensStoresNothing) {
  const std::string sequence = OpenSequence();
  ASSERT_NO_FATAL_FAILURE(MustAppend(sequence, 0, kTokens + 7));
  v1::SealResponse sealed;
  for (uint64_t tokens : {uint64_t{0}, uint64_t{7}, uint64_t{kTokens + 6}, uint64_t{kTokens + 8}}) {
    const absl::Status status = Seal(sequence, kFirst + 1, tokens, &sealed);
    EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
    EXPECT_NE(status.message().find("has 71"), absl::string_view::npos) << status;
  }
  EXPECT_FALSE(Exists(ns_, kFirst + 1));
  ASSERT_TRUE(Seal(sequence, kFirst + 1, kTokens + 7, &sealed).ok());
  ExpectBlock(kFirst + 1, 7);
}

TEST_F(SequenceCallsTest, AnAppendThatFailsAtItsSecondBlockIsRepeated) {
  const std::string sequence = OpenSequence();
  ASSERT_NO_FATAL_FAILURE(MustAppend(sequence, 0, 1));
  PutCall other(stub());
  ASSERT_TRUE(other.Send(HeaderOf({.ns = ns_, .blocks = {kFirst + 1}})));
  ASSERT_TRUE(other.Receive());
  ASSERT_EQ(other.verdict(0), v1::PutDisposition::WANTED);
  const v1::AppendRequest request = AppendOf(sequence, 1, 2 * kTokens);
  const absl::Status status = Append(request, &response_);
  EXPECT_TRUE(absl::IsAborted(status)) << status;
  EXPECT_TRUE(Exists(ns_, kFirst));
  EXPECT_FALSE(Exists(ns_, kFirst + 1));
  other.Cancel();
  EXPECT_FALSE(other.Finish().ok());
  ASSERT_TRUE(Eventually([&] { return Append(request, &response_).ok(); }));
  ASSERT_EQ(response_.committed_size(), 2);
  EXPECT_TRUE(response_.committed(0).already_stored());
  EXPECT_GT(response_.committed(0).encoded_bytes(), 0u);
  EXPECT_EQ(response_.committed(1).block(), 1u);
  EXPECT_EQ(response_.tokens(), 2 * kTokens + 1);
  ExpectBlock(kFirst);
  ExpectBlock(kFirst + 1);
}

// A client cuts a long append into pieces, of which one brings no key and the next one that of the block.
TEST_F(SequenceCallsTest, PiecesAreRepeatedAfterTheirBlockCouldNotBeCommitted) {
  const std::string sequence = OpenSequence();
  PutCall other(stub());
  ASSERT_TRUE(other.Send(HeaderOf({.ns = ns_, .blocks = {kFirst}})));
  ASSERT_TRUE(other.Receive());
  ASSERT_NO_FATAL_FAILURE(MustAppend(sequence, 0, 32));
  EXPECT_TRUE(absl::IsAborted(Append(AppendOf(sequence, 32, 32), &response_)));
  // All of it again, from the first piece on.
  ASSERT_NO_FATAL_FAILURE(MustAppend(sequence, 0, 32));
  EXPECT_EQ(response_.tokens(), 64u);
  EXPECT_EQ(response_.committed_tokens(), 0u);
  other.Cancel();
  EXPECT_FALSE(other.Finish().ok());
  ASSERT_TRUE(Eventually([&] { return Append(AppendOf(sequence, 32, 32), &response_).ok(); }));
  EXPECT_EQ(response_.committed_tokens(), 64u);
  ExpectBlock(kFirst);
}

TEST_F(SequenceCallsTest, ABadAppendForgetsNothing) {
  const std::string sequence = OpenSequence();
  ASSERT_NO_FATAL_FAILURE(MustAppend(sequence, 0, kTokens));
  EXPECT_TRUE(absl::IsFailedPrecondition(Append(AppendOf(sequence, 2 * kTokens, 1), &response_)));
  ASSERT_NO_FATAL_FAILURE(MustAppend(sequence, 0, kTokens));
  EXPECT_EQ(response_.committed_size(), 1);
}

TEST_F(SequenceCallsTest, ATailThatBecomesABlockIsNotMixed) {
  const std::string sequence = OpenSequence();
  ASSERT_NO_FATAL_FAILURE(MustAppend(sequence, 0, 30));
  ServiceContext& context = fixture().daemon().context();
  v1::GetRequest request;
  request.set_namespace_id(ns_);
  request.set_form(v1::FORM_DECODED);
  request.set_sequence(sequence);
  request.set_max_chunk_bytes(4096);
  auto producer = GetProducer::Create(&context, store().FindNamespace(ns_), request);
  ASSERT_TRUE(producer.ok()) << producer.status();
  codec::Workspace ws;
  grpc::ByteBuffer message;
  // The tail grows after its first layer was read: the others have as many tokens as that one.
  std::vector<v1::GetResponse> responses;
  const auto next = [&] {
    if (!(*producer)->Next(ws, &message)) return false;
    BulkView bulk;
    EXPECT_TRUE(DecodeBulk(message, &responses.emplace_back(), &bulk).ok());
    return true;
  };
  ASSERT_TRUE(next());
  ASSERT_NO_FATAL_FAILURE(MustAppend(sequence, 30, 3));
  ASSERT_TRUE(next());
  ASSERT_NO_FATAL_FAILURE(MustAppend(sequence, 33, kTokens - 33));
  while (next()) {
  }
  absl::Status last;
  for (const v1::GetResponse& response : responses) {
    for (const auto& chunk : response.chunks()) EXPECT_EQ(chunk.tokens(), 30u);
    for (const auto& layer : response.layer_results()) last = FromBlockStatus(layer.status());
  }
  EXPECT_TRUE(absl::IsAborted(last)) << last;
}

TEST_F(SequenceCallsTest, AShardOfASequenceCompletesWithTheOthers) {
  const ShardRange left{0, 0, 2, 0, kLayers};
  const ShardRange right{0, 2, 2, 0, kLayers};
  const std::string a = OpenSequence(left);
  const std::string b = OpenSequence(right);
  ASSERT_NO_FATAL_FAILURE(MustAppend(a, 0, kTokens, left));
  EXPECT_FALSE(Exists(ns_, kFirst));
  ASSERT_NO_FATAL_FAILURE(MustAppend(b, 0, kTokens, right));
  ExpectBlock(kFirst);
  // Two workers with the same heads: the second finds them stored.
  const std::string again = OpenSequence(left);
  ASSERT_NO_FATAL_FAILURE(MustAppend(again, 0, kTokens, left));
  EXPECT_TRUE(response_.committed(0).already_stored());
}

TEST_F(SequenceCallsTest, ASequenceExpires) {
  const std::string sequence = OpenSequence(WholeShard(), 1000);
  ASSERT_NO_FATAL_FAILURE(MustAppend(sequence, 0, 5));
  Advance(900);
  ASSERT_NO_FATAL_FAILURE(MustAppend(sequence, 5, 5));
  Advance(900);
  ASSERT_NO_FATAL_FAILURE(MustAppend(sequence, 10, 5));
  EXPECT_GT(store().stats().tail_bytes, 0u);
  Advance(1001);
  EXPECT_EQ(store().stats().tail_bytes, 0u);
  const absl::Status status = Append(AppendOf(sequence, 15, 1), &response_);
  EXPECT_TRUE(absl::IsNotFound(status)) << status;
}

TEST_F(SequenceCallsTest, TheQuotaHoldsForTailsToo) {
  v1::OpenNamespaceRequest open = OpenRequest("small");
  open.mutable_policy()->set_quota_bytes(60'000);  // one tail of 48 KiB
  ns_ = Open(open);
  const std::string a = OpenSequence();
  const std::string b = OpenSequence();
  ASSERT_NO_FATAL_FAILURE(MustAppend(a, 0, 1));
  const absl::Status status = Append(AppendOf(b, 0, 1), &response_);
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_EQ(Rejected("quota"), 1);
  EXPECT_EQ(Rejected("memory"), 0);
  v1::SealResponse sealed;
  ASSERT_TRUE(Seal(a, -1, 0, &sealed).ok());
  ASSERT_NO_FATAL_FAILURE(MustAppend(b, 0, 1));
}

TEST_F(SequenceCallsTest, DrainingOpensNoNewOnes) {
  fixture().daemon().BeginDrain();
  v1::OpenSequenceRequest request;
  request.set_namespace_id(ns_);
  v1::OpenSequenceResponse response;
  const auto call = Call();
  EXPECT_TRUE(absl::IsUnavailable(FromGrpc(stub()->OpenSequence(call.get(), request, &response))));
  EXPECT_EQ(call->GetServerTrailingMetadata().count("kvcompd-draining"), 1u);
  EXPECT_EQ(Rejected("draining"), 1);
}

}  // namespace
}  // namespace kvcompd::server
