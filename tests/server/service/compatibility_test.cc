// Clients and daemons of other releases: recorded calls of version 1.0 are answered as they were; fields,
// enum values and bits that are not known here are passed over, unless they say that they must not be.
#include <google/protobuf/message.h>
#include <google/protobuf/unknown_field_set.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <vector>

#include "codec/base/crc32c.h"
#include "codec/container.h"
#include "proto/convert.h"
#include "tests/codec/block_samples.h"
#include "tests/golden/golden_calls.h"
#include "tests/server/service/service_fixture.h"

namespace kvcompd::server {
namespace {

constexpr char kRecorded[] = "tests/golden/calls/v1/session.bin";

DaemonOptions GoldenOptions() {
  DaemonOptions options = SmallDaemonOptions();
  options.store.epoch = kGoldenEpoch;
  return options;
}

// Adds fields that this version does not know to a message and all messages in it.
void AddUnknownFields(google::protobuf::Message* message) {
  const auto* reflection = message->GetReflection();
  std::vector<const google::protobuf::FieldDescriptor*> fields;
  reflection->ListFields(*message, &fields);
  for (const auto* field : fields) {
    if (field->cpp_type() != google::protobuf::FieldDescriptor::CPPTYPE_MESSAGE) continue;
    if (!field->is_repeated()) {
      AddUnknownFields(reflection->MutableMessage(message, field));
      continue;
    }
    for (int i = 0; i < reflection->FieldSize(*message, field); ++i) {
      AddUnknownFields(reflection->MutableRepeatedMessage(message, field, i));
    }
  }
  auto* unknown = reflection->MutableUnknownFields(message);
  unknown->AddVarint(900, 7);
  unknown->AddLengthDelimited(901, "of a later version");
  unknown->AddFixed64(2000, 1);
  unknown->AddFixed32(2001, 1);
}

void Replace(std::string* bytes, const std::string& from, const std::string& to) {
  for (size_t at = bytes->find(from); at != std::string::npos; at = bytes->find(from, at)) {
    bytes->replace(at, from.size(), to);
  }
}

class CompatibilityTest : public ServiceTest {
 public:
  CompatibilityTest() : ServiceTest(GoldenOptions()) {}

  // Plays the recorded session; `change` is done to each request.
  template <typename Change>
  void Replay(const Change& change) {
    std::ifstream file(kRecorded, std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    const auto calls = ParseCalls(bytes);
    ASSERT_TRUE(calls.ok()) << calls.status() << " " << kRecorded;
    ASSERT_GT(calls->size(), 20u);
    std::string sequence;
    std::string lease;
    for (size_t i = 0; i < calls->size(); ++i) {
      RecordedCall sent = (*calls)[i];
      for (std::string& request : sent.requests) {
        Replace(&request, kSequencePlaceholder, sequence);
        Replace(&request, kLeasePlaceholder, lease);
        change(sent.method, &request);
      }
      const RecordedCall answer = Play(fixture().channel(), sent);
      if (const std::string handle = HandleOf(answer); !handle.empty()) {
        (sent.method == "Match" ? lease : sequence) = handle;
      }
      ASSERT_EQ(Normalized(answer), Normalized((*calls)[i])) << "call " << i;
    }
  }
};

TEST_F(CompatibilityTest, RecordedCallsOfVersion1AreAnsweredAsTheyWere) {
  Replay([](const std::string&, std::string*) {});
}

TEST_F(CompatibilityTest, TheRecordingSaysWhatThisTestThinksItDoes) {
  std::ifstream file(kRecorded, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  const auto calls = ParseCalls(bytes);
  ASSERT_TRUE(calls.ok());
  std::set<std::string> methods;
  std::set<int> codes;
  for (const RecordedCall& call : *calls) {
    methods.insert(call.method);
    codes.insert(call.code);
  }
  EXPECT_GE(methods.size(), 13u);
  EXPECT_EQ(codes, (std::set<int>{0, 9}));
  EXPECT_TRUE(absl::IsDataLoss(ParseCalls(std::string_view(bytes).substr(0, bytes.size() - 1)).status()));
}

TEST_F(CompatibilityTest, FieldsOfANewerClientArePassedOver) {
  Replay([](const std::string& method, std::string* bytes) {
    auto request = NewRequest(method);
    ASSERT_TRUE(request->ParseFromString(*bytes));
    AddUnknownFields(request.get());
    *bytes = request->SerializeAsString();
  });
}

TEST_F(CompatibilityTest, AnOlderClientSkipsFieldsOfANewerDaemon) {
  std::ifstream file(kRecorded, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  const auto calls = ParseCalls(bytes);
  ASSERT_TRUE(calls.ok());
  for (RecordedCall call : *calls) {
    for (std::string& bytes_of : call.responses) {
      auto response = NewResponse(call.method);
      ASSERT_TRUE(response->ParseFromString(bytes_of));
      const std::string known = response->SerializeAsString();
      AddUnknownFields(response.get());
      auto read = NewResponse(call.method);
      ASSERT_TRUE(read->ParseFromString(response->SerializeAsString()));
      read->DiscardUnknownFields();
      EXPECT_EQ(read->SerializeAsString(), known);
    }
  }
}

TEST_F(CompatibilityTest, EnumValuesOfANewerClientCountAsNotSaid) {
  v1::OpenNamespaceRequest open = OpenRequest();
  open.mutable_policy()->set_verify_ingest(static_cast<v1::VerifyIngest>(99));
  v1::OpenNamespaceResponse opened;
  ASSERT_TRUE(OpenNamespace(open, &opened).ok());
  EXPECT_EQ(opened.policy().verify_ingest(), v1::VERIFY_INGEST_FULL);
}

TEST_F(CompatibilityTest, ContainersOfANewerMinorVersionWithMayIgnoreBitsAreTaken) {
  const std::string ns = Open();
  const PutSpec spec{.ns = ns, .blocks = {1}, .encoded = true};
  std::vector<v1::PutRequest> pieces = PiecesOf(spec, 0);
  std::string header = pieces[0].data();
  codec::Poke<uint8_t>(&header, 5, codec::kFormatMinor + 1);
  codec::Poke<uint32_t>(&header, 12, 0x80000001);
  codec::ResealBlockHeader(&header);
  const auto parsed = codec::ParseBlockHeader(AsBytes(header));
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  ASSERT_EQ(parsed->minor, codec::kFormatMinor + 1);
  ASSERT_EQ(parsed->may_ignore, 0x80000001);
  pieces[0].set_data(header);
  pieces[0].mutable_chunks(0)->set_crc32c(Crc32c(AsBytes(header)));
  PutCall put(stub());
  put.Send(HeaderOf(spec));
  ASSERT_TRUE(put.Receive());
  for (const auto& piece : pieces) put.Send(piece);
  put.Send(CommitOf({0}));
  ASSERT_TRUE(put.Finish().ok());
  ASSERT_TRUE(put.StatusOf(0).ok()) << put.StatusOf(0);
  for (v1::Form form : {v1::FORM_DECODED, v1::FORM_ENCODED}) {
    const Got got = Get(GetOf(ns, {1}, WholeShard(), form));
    EXPECT_EQ(got.Values(0, 3, Tensor::kV), ExpectedValues(1, WholeShard(), 3, Tensor::kV));
  }
  // A reader that takes only 1.0 gets the values instead.
  v1::GetRequest old = GetOf(ns, {1}, WholeShard(), v1::FORM_ENCODED);
  old.mutable_accept()->add_codecs("raw");
  EXPECT_EQ(Get(old).layers.at(0).form(), v1::FORM_DECODED) << "no versions named: 1.0";
  old.mutable_accept()->add_format_versions(codec::kFormatVersion);
  EXPECT_EQ(Get(old).layers.at(0).form(), v1::FORM_DECODED);
  old.mutable_accept()->add_format_versions(codec::kFormatVersion + 1);
  EXPECT_EQ(Get(old).layers.at(0).form(), v1::FORM_ENCODED);
}

}  // namespace
}  // namespace kvcompd::server
