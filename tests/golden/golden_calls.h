// Recorded calls of protocol version 1.0: what a client of that version sent and what the daemon answered,
// byte by byte (tests/golden/calls/v1/session.bin). Made once by make_golden_calls, replayed for ever by
// compatibility_test.
//
//   auto calls = ParseCalls(bytes);
//   for (const RecordedCall& call : *calls) {
//     RecordedCall now = Play(channel, call);      // sends call.requests
//     EXPECT_EQ(Normalized(now), Normalized(call));
//   }
//
// Free functions over plain values; one thread.
#ifndef KVCOMPD_TESTS_GOLDEN_GOLDEN_CALLS_H_
#define KVCOMPD_TESTS_GOLDEN_GOLDEN_CALLS_H_

#include <google/protobuf/message.h>
#include <grpcpp/channel.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace kvcompd {

struct RecordedCall {
  std::string method;  // "Put"
  std::vector<std::string> requests;
  std::vector<std::string> responses;
  int code = 0;
};

// The store's epoch while recording and replaying, so that generations are the same.
inline constexpr uint64_t kGoldenEpoch = 0x1122334455667788;

std::string SerializeCalls(const std::vector<RecordedCall>& calls);
absl::StatusOr<std::vector<RecordedCall>> ParseCalls(std::string_view bytes);  // DATA_LOSS

// Sends the requests as they are: the first, then (Put) what the daemon says to it is waited for, then the
// rest. The answer is in `responses` and `code`.
RecordedCall Play(const std::shared_ptr<grpc::Channel>& channel, const RecordedCall& call);

std::unique_ptr<google::protobuf::Message> NewRequest(const std::string& method);
std::unique_ptr<google::protobuf::Message> NewResponse(const std::string& method);

// The answer as text, without what may differ from run to run and release to release: how a stream is cut
// into messages, limits, names of software, handles that are drawn.
std::string Normalized(const RecordedCall& call);
// The handle (of a sequence or lease) that the call's answer brought; empty where none.
std::string HandleOf(const RecordedCall& call);

// The session that is recorded. Handles in later requests are placeholders of 16 bytes; see HandleOf.
inline constexpr char kSequencePlaceholder[] = "<-- sequence -->";
inline constexpr char kLeasePlaceholder[] = "<---- lease --->";
std::vector<RecordedCall> GoldenSession();

}  // namespace kvcompd

#endif  // KVCOMPD_TESTS_GOLDEN_GOLDEN_CALLS_H_
