// Bad input, one kind a test: each gets its fixed status and a text that says what to do, is counted with a
// reason, and leaves nothing behind (ServiceTest::TearDown). Good neighbours are not disturbed: after each
// attack a block that was stored before reads as it was.
#include <grpcpp/completion_queue.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>

#include <functional>
#include <random>
#include <set>
#include <utility>

#include "codec/base/crc32c.h"
#include "tests/codec/block_samples.h"
#include "tests/server/service/service_fixture.h"

namespace kvcompd::server {
namespace {

// A call that carries any bytes.
class RawCall {
 public:
  RawCall(const std::shared_ptr<grpc::Channel>& channel, const std::string& method)
      : stub_(channel), stream_(stub_.PrepareCall(context_.get(), "/kvcompd.v1.KvCache/" + method, &queue_)) {
    stream_->StartCall(nullptr);
    Done();
  }
  ~RawCall() {
    queue_.Shutdown();
    void* tag;
    bool ok;
    while (queue_.Next(&tag, &ok)) {
    }
  }
  bool Send(const std::string& bytes) {
    const grpc::Slice slice(bytes);
    stream_->Write(grpc::ByteBuffer(&slice, 1), nullptr);
    return Done();
  }
  bool Receive() {
    grpc::ByteBuffer reply;
    stream_->Read(&reply, nullptr);
    return Done();
  }
  absl::Status Finish() {
    stream_->WritesDone(nullptr);
    Done();
    while (Receive()) {
    }
    grpc::Status status;
    stream_->Finish(&status, nullptr);
    Done();
    return FromGrpc(status);
  }

 private:
  bool Done() {
    void* tag;
    bool ok = false;
    return queue_.Next(&tag, &ok) && ok;
  }
  grpc::CompletionQueue queue_;
  std::unique_ptr<grpc::ClientContext> context_ = Call();
  grpc::GenericStub stub_;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> stream_;
};

class BadInputTest : public ServiceTest {
 public:
  static constexpr int kGood = 7;

  void SetUp() override {
    ns_ = Open();
    ASSERT_TRUE(Put({.ns = ns_, .blocks = {kGood}}).ok());
  }
  void TearDown() override {
    const Got got = Get(GetOf(ns_, {kGood}));
    EXPECT_EQ(got.LayersOf(0), kLayers) << got.BlockStatus(0);
    EXPECT_EQ(got.Values(0, 2, Tensor::kK), ExpectedValues(kGood, WholeShard(), 2, Tensor::kK));
    ServiceTest::TearDown();
  }

  void ExpectStatus(const absl::Status& status, absl::StatusCode code, const std::string& text) {
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_NE(status.message().find(text), absl::string_view::npos) << status;
  }
  // Puts of one block, the messages after the header changed by `change`.
  void ExpectBlockFails(const PutSpec& spec, const std::function<void(std::vector<v1::PutRequest>*)>& change,
                        absl::StatusCode code, v1::Reason reason, const std::string& text) {
    std::vector<v1::PutRequest> messages = PiecesOf(spec, 0);
    messages.push_back(CommitOf({0}));
    change(&messages);
    PutCall put(stub());
    put.Send(HeaderOf(spec));
    ASSERT_TRUE(put.Receive());
    ASSERT_EQ(put.verdict(0), v1::PutDisposition::WANTED);
    for (const v1::PutRequest& message : messages) put.Send(message);
    const absl::Status call = put.Finish();
    EXPECT_TRUE(call.ok()) << "one block's failure is not the call's: " << call;
    ExpectStatus(put.StatusOf(0), code, text);
    EXPECT_EQ(put.ReasonOf(0), reason);
    EXPECT_FALSE(Exists(spec.ns, spec.blocks[0]));
  }
  // Puts whose messages end the call.
  void ExpectCallFails(const std::vector<v1::PutRequest>& messages, absl::StatusCode code,
                       const std::string& text, const std::string& reason) {
    const double before = Rejected(reason);
    PutCall put(stub());
    for (const v1::PutRequest& message : messages) put.Send(message);
    ExpectStatus(put.Finish(), code, text);
    EXPECT_EQ(Rejected(reason), before + 1) << reason;
  }
  PutSpec Spec(int put_id = 5) const { return {.ns = ns_, .blocks = {1}, .put_id = put_id}; }
  PutSpec Encoded() const { return {.ns = ns_, .blocks = {1}, .encoded = true, .put_id = 5}; }
  std::string Container() const { return EncodeBlock(1, WholeShard(), "raw", ServiceModel().Fingerprint()); }

  // Replaces what a put of block 1 sends by this container's parts.
  void ExpectContainerFails(const std::string& container, absl::StatusCode code, v1::Reason reason,
                            const std::string& text) {
    ExpectBlockFails(
        Encoded(),
        [&](std::vector<v1::PutRequest>* messages) {
          *messages = PiecesOfContainer(container, 0);
          messages->push_back(CommitOf({0}));
        },
        code, reason, text);
  }
  // The parts of a sound container, changed with `change` (part 0 is the header), CRCs of the pieces right.
  void ExpectPartsFail(const std::function<void(std::vector<std::string>*)>& change, absl::StatusCode code,
                       v1::Reason reason, const std::string& text) {
    ExpectBlockFails(
        Encoded(),
        [&](std::vector<v1::PutRequest>* messages) {
          std::vector<std::string> parts;
          for (const auto& message : *messages) {
            if (!message.has_commit()) parts.push_back(message.data());
          }
          change(&parts);
          for (size_t i = 0; i < parts.size(); ++i) {
            v1::PutChunk* chunk = (*messages)[i].mutable_chunks(0);
            chunk->set_bytes(parts[i].size());
            chunk->set_total_bytes(parts[i].size());
            chunk->set_crc32c(Crc32c(AsBytes(parts[i])));
            (*messages)[i].set_data(parts[i]);
          }
        },
        code, reason, text);
  }

  std::string ns_;
};

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr auto kPrecondition = absl::StatusCode::kFailedPrecondition;

// ---- messages

TEST_F(BadInputTest, BytesThatAreNoMessage) {
  std::mt19937 random(1);
  for (int i = 0; i < 20; ++i) {
    std::string bytes(1 + random() % 64, '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    bytes[0] = '\x0f';  // a tag of no wire type
    RawCall put(fixture().channel(), "Put");
    put.Send(bytes);
    const absl::Status status = put.Finish();
    ExpectStatus(status, kInvalid, "protobuf");
  }
  EXPECT_EQ(Rejected("malformed"), 20);
}

TEST_F(BadInputTest, ReadsAndAppendsOfNoMessage) {
  const std::string get = GetOf(ns_, {kGood}).SerializeAsString();
  v1::AppendRequest append;
  append.set_namespace_id(ns_);
  append.set_sequence("s");
  append.set_data(std::string(100, 'x'));
  const std::string appended = append.SerializeAsString();
  for (const auto& [method, whole] : {std::pair("Get", get), std::pair("Append", appended)}) {
    for (const std::string& bytes : {std::string("\x0f\xff\xff"), whole.substr(0, whole.size() - 1)}) {
      RawCall call(fixture().channel(), method);
      call.Send(bytes);
      ExpectStatus(call.Finish(), kInvalid, "protobuf");
    }
  }
  EXPECT_EQ(Rejected("malformed"), 4);
}

TEST_F(BadInputTest, TwoAppendsAtOnce) {
  v1::OpenSequenceRequest open;
  open.set_namespace_id(ns_);
  v1::OpenSequenceResponse opened;
  ASSERT_TRUE(KVCOMPD_CALL(OpenSequence, open, &opened).ok());
  v1::AppendRequest append;
  append.set_namespace_id(ns_);
  append.set_sequence(opened.sequence());
  append.set_tokens(1);
  append.set_data(std::string(kLayers * kHeads * (16 + 8) * 2, '\0'));
  append.set_crc32c(Crc32c(AsBytes(append.data())));
  v1::AppendResponse response;
  {
    const auto held =
        fixture().daemon().context().sequences->Acquire(*store().FindNamespace(ns_), opened.sequence());
    ASSERT_TRUE(held.ok());
    ExpectStatus(KVCOMPD_CALL(Append, append, &response), absl::StatusCode::kAborted, "repeat");
  }
  EXPECT_TRUE(KVCOMPD_CALL(Append, append, &response).ok());
  EXPECT_EQ(response.tokens(), 1u);
}

TEST_F(BadInputTest, TruncatedMessages) {
  const std::string whole = HeaderOf(Spec()).SerializeAsString();
  for (size_t n = 1; n < whole.size(); n += 5) {
    RawCall put(fixture().channel(), "Put");
    put.Send(whole.substr(0, n));
    ExpectStatus(put.Finish(), kInvalid, "protobuf");
  }
  const std::string chunk = PiecesOf(Spec(), 0)[0].SerializeAsString();
  RawCall put(fixture().channel(), "Put");
  put.Send(whole);
  ASSERT_TRUE(put.Receive());
  put.Send(chunk.substr(0, chunk.size() - 1));
  ExpectStatus(put.Finish(), kInvalid, "protobuf");
}

TEST_F(BadInputTest, MessagesLongerThanTheLimit) {
  v1::PutRequest big;
  big.set_data(std::string(fixture().daemon().context().options.max_chunk_bytes + (4 << 20), 'x'));
  PutCall put(stub());
  put.Send(HeaderOf(Spec()));
  ASSERT_TRUE(put.Receive());
  put.Send(big);
  const absl::Status status = put.Finish();
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
}

TEST_F(BadInputTest, ALongHeaderBesideTheBulk) {
  v1::PutRequest header = HeaderOf(Spec());
  header.mutable_header()->set_profile(std::string((1 << 20) + 1, 'p'));
  ExpectCallFails({header}, absl::StatusCode::kResourceExhausted, "beside the bulk", "memory");
}

TEST_F(BadInputTest, TheHeaderComesFirstAndOnceAndAlone) {
  ExpectCallFails({CommitOf({0})}, kInvalid, "one header", "malformed");
  ExpectCallFails({PiecesOf(Spec(), 0)[0]}, kInvalid, "one header", "malformed");
  ExpectCallFails({HeaderOf(Spec()), HeaderOf(Spec())}, kInvalid, "one header", "malformed");
  v1::PutRequest both = HeaderOf(Spec());
  both.mutable_commit()->add_blocks(0);
  ExpectCallFails({both}, kInvalid, "stands alone", "malformed");
}

TEST_F(BadInputTest, HeaderFieldsOutOfRange) {
  const auto expect = [&](const std::function<void(v1::PutHeader*)>& change, absl::StatusCode code,
                          const std::string& text, const std::string& reason = "malformed") {
    v1::PutRequest request = HeaderOf(Spec());
    change(request.mutable_header());
    ExpectCallFails({request}, code, text, reason);
  };
  expect([](v1::PutHeader* h) { h->set_put_id("short"); }, kInvalid, "16 random bytes");
  expect([](v1::PutHeader* h) { h->clear_blocks(); }, kInvalid, "at least one block");
  expect([](v1::PutHeader* h) { h->clear_form(); }, kInvalid, "form");
  expect([](v1::PutHeader* h) { h->set_form(static_cast<v1::Form>(77)); }, kInvalid, "form");
  expect([](v1::PutHeader* h) { h->mutable_shard()->set_group(9); }, kInvalid, "group");
  expect([](v1::PutHeader* h) { h->mutable_shard()->set_head_begin(4); }, kInvalid, "head");
  expect([](v1::PutHeader* h) { h->mutable_shard()->set_head_count(UINT32_MAX); }, kInvalid, "head");
  expect([](v1::PutHeader* h) { h->mutable_shard()->set_layer_begin(3); }, kInvalid, "layer");
  expect([](v1::PutHeader* h) { h->mutable_blocks(0)->set_key("short"); }, kInvalid, "blocks[0]");
  expect([](v1::PutHeader* h) { h->mutable_blocks(0)->set_key(std::string(65, 'k')); }, kInvalid,
         "blocks[0]");
  expect([](v1::PutHeader* h) { h->mutable_blocks(0)->set_parent_key("p"); }, kInvalid, "parent");
  expect([](v1::PutHeader* h) { h->mutable_blocks(0)->set_tokens(0); }, kInvalid, "tokens");
  expect([](v1::PutHeader* h) { h->mutable_blocks(0)->set_tokens(65); }, kInvalid, "1 to 64");
  expect([](v1::PutHeader* h) { h->set_cache_salt(std::string(257, 's')); }, kInvalid, "cache_salt");
  expect([](v1::PutHeader* h) { h->set_form(v1::FORM_ENCODED), h->set_profile("kvcomp:rel_k=9"); }, kInvalid,
         "rel_k");
  expect([](v1::PutHeader* h) { h->set_form(v1::FORM_ENCODED), h->set_profile("zstd"); },
         absl::StatusCode::kUnimplemented, "zstd", "unsupported");
  expect(
      [](v1::PutHeader* h) {
        for (int i = 0; i < 5000; ++i) *h->add_blocks() = h->blocks(0);
      },
      absl::StatusCode::kResourceExhausted, "split it", "memory");
}

TEST_F(BadInputTest, AnUnknownNamespaceAsksToOpenItAgain) {
  v1::PutRequest request = HeaderOf(Spec());
  request.mutable_header()->set_namespace_id(std::string(16, 'n'));
  ExpectCallFails({request}, kPrecondition, "OpenNamespace", "not_stored");
  auto context = Call();
  v1::MatchRequest match;
  match.set_namespace_id("?");
  match.add_keys(KeyOf(1));
  v1::MatchResponse reply;
  EXPECT_EQ(stub()->Match(context.get(), match, &reply).error_code(), grpc::FAILED_PRECONDITION);
  EXPECT_EQ(context->GetServerTrailingMetadata().count("kvcompd-reopen"), 1u);
}

TEST_F(BadInputTest, ChunksAndDataDisagree) {
  std::vector<v1::PutRequest> pieces = PiecesOf(Spec(), 0);
  const auto expect = [&](const std::function<void(v1::PutRequest*)>& change, const std::string& text) {
    v1::PutRequest changed = pieces[0];
    change(&changed);
    ExpectCallFails({HeaderOf(Spec()), changed}, kInvalid, text, "malformed");
  };
  expect([](v1::PutRequest* r) { r->mutable_data()->append("x"); }, "longer than its chunks");
  expect([](v1::PutRequest* r) { r->mutable_data()->pop_back(); }, "longer than data");
  expect([](v1::PutRequest* r) { r->mutable_chunks(0)->set_bytes(UINT64_MAX); }, "longer than data");
  expect([](v1::PutRequest* r) { r->mutable_chunks(0)->set_block(1); }, "the put has 1");
  ExpectCallFails({HeaderOf(Spec()), CommitOf({1})}, kInvalid, "the put has 1", "malformed");
}

TEST_F(BadInputTest, PiecesOutOfOrder) {
  using Messages = std::vector<v1::PutRequest>;
  const auto expect = [&](const std::function<void(Messages*)>& change, const std::string& text) {
    ExpectBlockFails(Spec(), change, kInvalid, v1::REASON_MALFORMED, text);
  };
  expect([](Messages* m) { std::swap((*m)[0], (*m)[1]); }, "send pieces in order");
  expect([](Messages* m) { m->erase(m->begin() + 2); }, "send pieces in order");
  expect([](Messages* m) { m->insert(m->begin(), (*m)[0]); }, "send pieces in order");
  expect([](Messages* m) { (*m)[0].mutable_chunks(0)->set_offset(64); }, "the next one is at 0");
  expect([](Messages* m) { (*m)[0].mutable_chunks(0)->set_total_bytes(1); }, "total_bytes");
  expect([](Messages* m) { (*m)[3].mutable_chunks(0)->set_tensor(static_cast<v1::TensorKind>(9)); },
         "send pieces in order");
  expect([](Messages* m) { m->insert(m->end() - 1, (*m)[m->size() - 2]); }, "come already");
  expect(
      [](Messages* m) {
        (*m)[0].mutable_chunks(0)->set_bytes(0);
        (*m)[0].clear_data();
      },
      "does not fit");
  EXPECT_EQ(Rejected("malformed"), 8);
}

TEST_F(BadInputTest, PartsOfAContainerOutOfOrder) {
  using Messages = std::vector<v1::PutRequest>;
  const auto expect = [&](const std::function<void(Messages*)>& change, absl::StatusCode code,
                          v1::Reason reason, const std::string& text) {
    ExpectBlockFails(Encoded(), change, code, reason, text);
  };
  expect([](Messages* m) { m->erase(m->begin()); }, kInvalid, v1::REASON_MALFORMED, "CONTAINER_HEADER");
  expect([](Messages* m) { m->erase(m->begin() + 1); }, kInvalid, v1::REASON_MALFORMED, "CONTAINER_SEGMENT");
  expect([](Messages* m) { std::swap((*m)[1].mutable_data()[0], (*m)[3].mutable_data()[0]); },
         absl::StatusCode::kDataLoss, v1::REASON_MALFORMED, "CRC32C");
  // Whole segments changed places, CRCs and all.
  expect([](Messages* m) { std::swap((*m)[1], (*m)[3]); }, absl::StatusCode::kDataLoss, v1::REASON_MALFORMED,
         "");
}

TEST_F(BadInputTest, APieceThatDoesNotMatchItsCrc) {
  ExpectBlockFails(
      Spec(), [](auto* m) { (*m)[2].mutable_data()->at(5) ^= 1; }, absl::StatusCode::kDataLoss,
      v1::REASON_MALFORMED, "send the block again");
}

TEST_F(BadInputTest, ACommitBeforeAllPiecesCame) {
  ExpectBlockFails(
      Spec(), [](auto* m) { m->erase(m->end() - 3, m->end() - 1); }, kPrecondition, v1::REASON_INCOMPLETE,
      "send the rest first");
  ExpectBlockFails(
      Encoded(), [](auto* m) { m->erase(m->end() - 2); }, kPrecondition, v1::REASON_INCOMPLETE,
      "send the rest first");
  EXPECT_EQ(Rejected("incomplete"), 2);
}

TEST_F(BadInputTest, OneBadBlockOfABatchFailsAlone) {
  const PutSpec spec{.ns = ns_, .blocks = {1, 2, 3}, .put_id = 5};
  PutCall put(stub());
  put.Send(HeaderOf(spec));
  ASSERT_TRUE(put.Receive());
  for (uint32_t block = 0; block < 3; ++block) {
    auto pieces = PiecesOf(spec, block);
    if (block == 1) std::swap(pieces[0], pieces[1]);
    for (const auto& piece : pieces) put.Send(piece);
  }
  put.Send(CommitOf({0, 1, 2}));
  EXPECT_TRUE(put.Finish().ok());
  EXPECT_TRUE(put.StatusOf(0).ok());
  EXPECT_TRUE(absl::IsInvalidArgument(put.StatusOf(1)));
  EXPECT_TRUE(put.StatusOf(2).ok());
  EXPECT_TRUE(Exists(ns_, 3));
}

TEST_F(BadInputTest, ABlockNamedTwiceIsStoredOnce) {
  const PutSpec spec{.ns = ns_, .blocks = {1, 1}, .put_id = 5};
  PutCall put(stub());
  put.Send(HeaderOf(spec));
  put.Receive();
  for (uint32_t block = 0; block < 2; ++block) {
    for (const auto& piece : PiecesOf(spec, block)) put.Send(piece);
  }
  put.Send(CommitOf({0, 1}));
  ExpectStatus(put.Finish(), kInvalid, "twice");
  EXPECT_FALSE(Exists(ns_, 1));
}

// ---- encoded blocks

TEST_F(BadInputTest, AContainerOfAnotherModel) {
  ModelDescriptor other = ServiceModel();
  other.weights_version = "2";
  ExpectContainerFails(EncodeBlock(1, WholeShard(), "raw", other.Fingerprint()), kPrecondition,
                       v1::REASON_WRONG_PLACE, "encoded for model");
  EXPECT_EQ(Rejected("wrong_place"), 1);
}

TEST_F(BadInputTest, AContainerOfAnotherBlockOrSalt) {
  ExpectContainerFails(EncodeBlock(2, WholeShard(), "raw", ServiceModel().Fingerprint()), kPrecondition,
                       v1::REASON_WRONG_PLACE, "the put announced");
  ExpectContainerFails(EncodeBlock(1, WholeShard(), "raw", ServiceModel().Fingerprint(), "salt"),
                       kPrecondition, v1::REASON_WRONG_PLACE, "salt");
}

TEST_F(BadInputTest, AContainerOfOtherHeadsLayersOrTokens) {
  const Fingerprint fp = ServiceModel().Fingerprint();
  ExpectContainerFails(EncodeBlock(1, WholeShard(), "raw", fp, "", 63), kPrecondition, v1::REASON_WRONG_PLACE,
                       "announced");
  PutSpec spec = Encoded();
  spec.shard = {0, 0, 2, 0, kLayers};
  ExpectBlockFails(
      spec,
      [&](auto* m) {
        *m = PiecesOfContainer(EncodeBlock(1, {0, 2, 2, 0, kLayers}, "raw", fp), 0);
        m->push_back(CommitOf({0}));
      },
      kPrecondition, v1::REASON_WRONG_PLACE, "announced");
}

TEST_F(BadInputTest, AContainerOfAnotherProfileThanAnnounced) {
  const std::string ns = Open("lossy", kKvcomp);
  PutSpec spec = Encoded();
  spec.ns = ns;
  spec.profile = kKvcomp;
  ExpectBlockFails(
      spec,
      [&](auto* m) {
        *m = PiecesOfContainer(Container(), 0);
        m->push_back(CommitOf({0}));
      },
      kPrecondition, v1::REASON_POLICY, "announced");
}

TEST_F(BadInputTest, AValidTileInTheWrongPlace) {
  // Segments of layer 0 and 1 change places; the header of each is made to say where it stands now.
  ExpectPartsFail(
      [](std::vector<std::string>* parts) {
        constexpr size_t kLayerOffset = 12;  // FORMAT.md, "Segment"
        std::string& a = (*parts)[1];
        std::string& b = (*parts)[3];
        const auto layer_a = codec::Peek<uint16_t>(a, kLayerOffset);
        const auto layer_b = codec::Peek<uint16_t>(b, kLayerOffset);
        std::swap(a, b);
        codec::Poke(&a, kLayerOffset, layer_a);
        codec::Poke(&b, kLayerOffset, layer_b);
        codec::ResealSegment(&a);
        codec::ResealSegment(&b);
      },
      absl::StatusCode::kDataLoss, v1::REASON_CORRUPT, "");
  EXPECT_EQ(Rejected("corrupt"), 1);
}

TEST_F(BadInputTest, AFlippedByteInATile) {
  ExpectPartsFail([](std::vector<std::string>* parts) { (*parts)[3].back() ^= 0x40; },
                  absl::StatusCode::kDataLoss, v1::REASON_CORRUPT, "");
}

TEST_F(BadInputTest, EveryPartOfAContainerCutShort) {
  const size_t num_parts = PiecesOf(Encoded(), 0).size();
  for (size_t part = 0; part < num_parts; ++part) {
    ExpectPartsFail(
        [part](std::vector<std::string>* parts) { (*parts)[part].resize((*parts)[part].size() / 2); },
        absl::StatusCode::kDataLoss, v1::REASON_MALFORMED, "");
  }
}

TEST_F(BadInputTest, AnUnknownMustUnderstandBitOfAContainer) {
  ExpectPartsFail(
      [](std::vector<std::string>* parts) {
        codec::Poke<uint32_t>(&(*parts)[0], 8, 1u << 31);
        codec::ResealBlockHeader(&(*parts)[0]);
      },
      absl::StatusCode::kUnimplemented, v1::REASON_UNSUPPORTED, "");
  EXPECT_EQ(Rejected("unsupported"), 1);
}

TEST_F(BadInputTest, AContainerLongerThanItsRawValuesAllow) {
  PutCall put(stub());
  put.Send(HeaderOf(Encoded()));
  ASSERT_TRUE(put.Receive());
  v1::PutRequest request;
  v1::PutChunk* chunk = request.add_chunks();
  chunk->set_container_part(v1::CONTAINER_HEADER);
  request.set_data(std::string(1000, 'x'));
  chunk->set_bytes(1000);
  chunk->set_total_bytes(UINT64_MAX);
  chunk->set_crc32c(Crc32c(AsBytes(request.data())));
  put.Send(request);
  EXPECT_TRUE(put.Finish().ok());
  ExpectStatus(put.StatusOf(0), absl::StatusCode::kResourceExhausted, "longer");
}

TEST_F(BadInputTest, ASetOfCodebooksThatIsNotKnown) {
  v1::PutRequest request = HeaderOf(Encoded());
  request.mutable_header()->set_codebook_set(std::string(32, 'c'));
  PutCall put(stub());
  put.Send(request);
  ASSERT_TRUE(put.Receive());
  EXPECT_EQ(put.verdict(0), v1::PutDisposition::REFUSED);
  EXPECT_EQ(put.verdicts[0].status().reason(), v1::REASON_CODEBOOK_MISSING);
  EXPECT_NE(put.verdicts[0].status().message().find("PutCodebooks"), std::string::npos);
  EXPECT_TRUE(put.Finish().ok());
  request.mutable_header()->set_codebook_set("short");
  ExpectCallFails({request}, kInvalid, "32", "malformed");
}

// ---- what is stored

class CorruptStoreTest : public BadInputTest {
 public:
  // Flips one stored bit, as bad memory would.
  void Corrupt(int block, uint64_t offset_from_end) {
    const auto snapshot = store().Lookup(store().FindNamespace(ns_), *BlockKey::FromBytes(KeyOf(block)));
    ASSERT_TRUE(snapshot.has_value());
    const MutableByteSpan bytes = snapshot->shards[0]->slot.bytes();
    bytes[bytes.size() - offset_from_end] ^= std::byte{0x10};
  }
};

TEST_F(CorruptStoreTest, ACorruptTileIsAMissFromItsLayerOnAndQuarantined) {
  for (v1::Form form : {v1::FORM_DECODED, v1::FORM_ENCODED}) {
    ASSERT_TRUE(Put({.ns = ns_, .blocks = {1, 2}, .put_id = form}).ok());
    const uint64_t corrupt = store().FindNamespace(ns_)->account().blocks;
    Corrupt(1, 1000);  // the last layer's V
    const Got got = Get(GetOf(ns_, {1, 2}, WholeShard(), form));
    EXPECT_TRUE(got.status.ok()) << "a bad block is a miss, not an error of the call";
    ExpectStatus(got.BlockStatus(0), absl::StatusCode::kNotFound, "did not verify");
    EXPECT_EQ(got.BlockReason(0), v1::REASON_CORRUPT);
    EXPECT_EQ(got.LayersOf(0), kLayers - 1);
    EXPECT_EQ(got.Values(0, 0, Tensor::kK), ExpectedValues(1, WholeShard(), 0, Tensor::kK));
    EXPECT_TRUE(got.Values(0, kLayers - 1, Tensor::kV).empty());
    EXPECT_EQ(got.LayersOf(1), kLayers);
    EXPECT_FALSE(Exists(ns_, 1));
    EXPECT_EQ(store().FindNamespace(ns_)->account().blocks, corrupt - 1);
    EXPECT_TRUE(Get(GetOf(ns_, {1})).BlockReason(0) == v1::REASON_NOT_STORED);
  }
  EXPECT_EQ(Missed("corrupt"), 2);
  EXPECT_EQ(Metric("kvcompd_removed_total", "corrupt"), 2);
}

TEST_F(CorruptStoreTest, ACorruptHeaderOrFooter) {
  for (const bool header : {true, false}) {
    ASSERT_TRUE(Put({.ns = ns_, .blocks = {1}, .put_id = header ? 2 : 3}).ok());
    Corrupt(1, header ? store().Lookup(store().FindNamespace(ns_), *BlockKey::FromBytes(KeyOf(1)))
                                ->shards[0]
                                ->container()
                                .size() -
                            20
                      : 5);
    const Got got = Get(GetOf(ns_, {1}));
    EXPECT_EQ(got.BlockReason(0), v1::REASON_CORRUPT);
    EXPECT_EQ(got.LayersOf(0), 0u);
    EXPECT_FALSE(Exists(ns_, 1));
    EXPECT_TRUE(Put({.ns = ns_, .blocks = {1}, .put_id = 4}).ok()) << "it may be put again";
    EXPECT_EQ(Get(GetOf(ns_, {1})).LayersOf(0), kLayers);
    v1::DeleteRequest del;
    del.set_namespace_id(ns_);
    del.add_keys(KeyOf(1));
    v1::DeleteResponse deleted;
    ASSERT_TRUE(KVCOMPD_CALL(Delete, del, &deleted).ok());
  }
}

TEST_F(CorruptStoreTest, ABlockPutInTheWrongPlaceByTheStoreItself) {
  // The bytes of block 2 stand in block 1's slot: sound in themselves, and not of this key.
  ASSERT_TRUE(Put({.ns = ns_, .blocks = {1, 2}}).ok());
  const auto ns = store().FindNamespace(ns_);
  const auto one = store().Lookup(ns, *BlockKey::FromBytes(KeyOf(1)));
  const auto two = store().Lookup(ns, *BlockKey::FromBytes(KeyOf(2)));
  const MutableByteSpan to = one->shards[0]->slot.bytes();
  const ByteSpan from = two->shards[0]->container();
  ASSERT_EQ(to.size(), from.size());
  std::copy(from.begin(), from.end(), to.begin());
  for (v1::Form form : {v1::FORM_DECODED, v1::FORM_ENCODED}) {
    const Got got = Get(GetOf(ns_, {1, 2}, WholeShard(), form));
    EXPECT_TRUE(absl::IsNotFound(got.BlockStatus(0)));
    EXPECT_EQ(got.LayersOf(0), 0u);
    EXPECT_TRUE(got.Values(0, 0, Tensor::kK).empty());
    EXPECT_EQ(got.LayersOf(1), kLayers);
  }
}

// ---- reads

TEST_F(BadInputTest, GetRequestsOutOfRange) {
  const auto expect = [&](const std::function<void(v1::GetRequest*)>& change, absl::StatusCode code,
                          const std::string& text) {
    v1::GetRequest request = GetOf(ns_, {kGood});
    change(&request);
    const Got got = Get(request);
    ExpectStatus(got.status, code, text);
    EXPECT_TRUE(got.chunks.empty());
  };
  expect([](auto* r) { r->clear_blocks(); }, kInvalid, "at least one block");
  expect([](auto* r) { r->clear_form(); }, kInvalid, "form");
  expect([](auto* r) { r->set_without_k(true), r->set_without_v(true); }, kInvalid, "nothing to send");
  expect([](auto* r) { r->mutable_shard()->set_head_begin(99); }, kInvalid, "head");
  expect([](auto* r) { r->mutable_blocks(0)->set_key("k"); }, kInvalid, "blocks[0]");
  expect([](auto* r) { r->set_cache_salt(std::string(257, 's')); }, kInvalid, "cache_salt");
  expect([](auto* r) { r->set_max_error(-1); }, kInvalid, "max_error");
  expect([](auto* r) { r->set_namespace_id("x"); }, kPrecondition, "OpenNamespace");
  expect(
      [](auto* r) {
        for (int i = 0; i < 5000; ++i) *r->add_blocks() = r->blocks(0);
      },
      absl::StatusCode::kResourceExhausted, "split it");
  EXPECT_EQ(Rejected("malformed"), 7);
}

TEST_F(BadInputTest, KeyCallsOutOfRange) {
  v1::MatchRequest request;
  request.set_namespace_id(ns_);
  v1::MatchResponse response;
  ExpectStatus(KVCOMPD_CALL(Match, request, &response), kInvalid, "no keys");
  request.add_keys("short");
  ExpectStatus(KVCOMPD_CALL(Match, request, &response), kInvalid, "keys[0]");
  request.set_keys(0, KeyOf(1));
  request.set_cache_salt(std::string(257, 's'));
  ExpectStatus(KVCOMPD_CALL(Match, request, &response), kInvalid, "cache_salt");
  request.clear_cache_salt();
  request.add_window_groups(0);
  ExpectStatus(KVCOMPD_CALL(Match, request, &response), kInvalid, "window_groups");
  EXPECT_EQ(Rejected("malformed"), 4);
  request.clear_window_groups();
  for (int i = 0; i < 70'000; ++i) request.add_keys(KeyOf(1));
  ExpectStatus(KVCOMPD_CALL(Match, request, &response), absl::StatusCode::kResourceExhausted, "split");
}

TEST_F(BadInputTest, TooManyStreams) {
  DaemonOptions options = SmallDaemonOptions();
  options.service.max_streams = 2;
  Restart(options);
  SetUp();
  Quiesce();
  PutCall first(stub());
  PutCall second(stub());
  first.Send(HeaderOf({.ns = ns_, .blocks = {1}, .put_id = 1}));
  second.Send(HeaderOf({.ns = ns_, .blocks = {2}, .put_id = 2}));
  ASSERT_TRUE(first.Receive() && second.Receive());
  const absl::Status put = Put({.ns = ns_, .blocks = {3}, .put_id = 3});
  ExpectStatus(put, absl::StatusCode::kResourceExhausted, "try again later");
  ExpectStatus(Get(GetOf(ns_, {kGood})).status, absl::StatusCode::kResourceExhausted, "try again later");
  EXPECT_EQ(Rejected("memory"), 2);
  EXPECT_TRUE(first.Finish().ok());
  EXPECT_TRUE(second.Finish().ok());
  Quiesce();
}

class SlowPeerTest : public BadInputTest {
 public:
  // A Get of 32 times 100 blocks that is read for one message only.
  void ExpectOthersServed(const std::string& profile, uint64_t most_lent_bytes) {
    DaemonOptions options = SmallDaemonOptions();
    options.service.get_window_bytes = 64 << 10;
    options.service.target_message_bytes = 16 << 10;
    options.store.lease_quota_fraction = 1.0;
    Restart(options);
    SetUp();
    const std::string ns = Open("slow", profile);
    std::vector<int> blocks;
    for (int i = 0; i < 100; ++i) blocks.push_back(100 + i);
    for (int i = 0; i < 100; i += 10) {
      ASSERT_TRUE(Put({.ns = ns, .blocks = {blocks.begin() + i, blocks.begin() + i + 10}, .put_id = i}).ok());
    }
    v1::GetRequest request = GetOf(ns, blocks);
    for (int i = 0; i < 5; ++i) request.mutable_blocks()->MergeFrom(v1::GetRequest(request).blocks());
    auto context = Call();
    auto slow = stub()->Get(context.get(), request);
    v1::GetResponse response;
    ASSERT_TRUE(slow->Read(&response));
    // It reads no further. The worker threads are not waiting for it: others are served.
    for (int i = 0; i < 5; ++i) EXPECT_EQ(Get(GetOf(ns, {blocks[i]})).LayersOf(0), kLayers);
    EXPECT_TRUE(Put({.ns = ns, .blocks = {50}, .put_id = 50}).ok());
    ServiceContext& daemon = fixture().daemon().context();
    EXPECT_TRUE(Eventually([&] { return daemon.pool->stats().running == 0; }));
    EXPECT_LE(daemon.buffers->lent_bytes(), most_lent_bytes);
    CancelSilentStreams();
    while (slow->Read(&response)) {
    }
    EXPECT_EQ(slow->Finish().error_code(), grpc::CANCELLED);
    EXPECT_TRUE(Eventually([&] { return daemon.buffers->lent_bytes() == 0; }));
  }
};

TEST_F(SlowPeerTest, AReaderOfRawValuesHoldsNobodyUpAndIsEnded) { ExpectOthersServed("raw", 0); }

// The window, what gRPC has taken (up to its own window), and the rounding up of small buffers.
TEST_F(SlowPeerTest, AReaderOfDecodedValuesHoldsNobodyUpAndIsEnded) {
  ExpectOthersServed(kKvcomp, uint64_t{12} << 20);
}

}  // namespace
}  // namespace kvcompd::server
