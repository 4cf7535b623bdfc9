// Records GoldenSession() with the daemon of this build:
//
//   bazel run //tests/golden:make_golden_calls -- $PWD/tests/golden/calls/v1/session.bin
//
// To be run once a protocol version, when its first release is made; after that the file stays as it is, and
// a new version gets a folder of its own.
#include <cstdio>
#include <fstream>
#include <string>

#include "tests/golden/golden_calls.h"
#include "tests/server/service/daemon_fixture.h"

namespace {

void Replace(std::string* bytes, const std::string& from, const std::string& to) {
  for (size_t at = bytes->find(from); at != std::string::npos; at = bytes->find(from, at)) {
    bytes->replace(at, from.size(), to);
  }
}

}  // namespace

int main(int argc, char** argv) {
  using namespace kvcompd;
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s FILE\n", argv[0]);
    return 1;
  }
  server::DaemonOptions options = server::SmallDaemonOptions();
  options.store.epoch = kGoldenEpoch;
  server::DaemonFixture fixture(options);
  std::string sequence = kSequencePlaceholder;
  std::string lease = kLeasePlaceholder;
  std::vector<RecordedCall> recorded = GoldenSession();
  for (RecordedCall& call : recorded) {
    RecordedCall sent = call;
    for (std::string& request : sent.requests) {
      Replace(&request, kSequencePlaceholder, sequence);
      Replace(&request, kLeasePlaceholder, lease);
    }
    const RecordedCall answer = Play(fixture.channel(), sent);
    if (const std::string handle = HandleOf(answer); !handle.empty()) {
      (call.method == "Match" ? lease : sequence) = handle;
    }
    call.responses = answer.responses;  // the requests keep their placeholders
    call.code = answer.code;
    std::printf("%s", Normalized(call).substr(0, 400).c_str());
  }
  std::ofstream file(argv[1], std::ios::binary);
  file << SerializeCalls(recorded);
  return file.good() ? 0 : 1;
}
