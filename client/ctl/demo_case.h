// DemoCase: what the demo's two processes agree on: samples of one model, and how they are stored.
//
// Called by demo_command.cc (which makes the cases), demo_prefill.cc and demo_decode.cc (which run them in
// processes of their own). Plain values.
//
//   auto cases = ParseDemoCases(args.Text("cases"));
//   auto opened = OpenDemoCase(cases->front(), address);
#ifndef KVCOMPD_CLIENT_CTL_DEMO_CASE_H_
#define KVCOMPD_CLIENT_CTL_DEMO_CASE_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/ctl/command.h"
#include "client/ctl/sample.h"
#include "client/ctl/session.h"
#include "client/ctl/table.h"
#include "client/kv_file.h"
#include "client/namespace_handle.h"
#include "codec/base/profile.h"

namespace kvcompd::client {

inline constexpr uint32_t kDemoBlockTokens = 64;

struct DemoCase {
  std::vector<std::string> stems;  // samples of one model, in the order in which they come
  std::string tenant;
  std::string profile;
  std::string salt;  // sets passes over the same samples apart

  Json ToJson() const;
};

// INVALID_ARGUMENT: not an array of cases.
absl::StatusOr<std::vector<DemoCase>> ParseDemoCases(const std::string& json);

struct DemoSample {
  std::string name;  // "docs6m.prefix_a"
  KvFile file;
  std::vector<SampleBlock> blocks;
};

struct OpenedDemoCase {
  Profile profile;
  std::vector<DemoSample> samples;
  std::unique_ptr<Session> session;
  std::shared_ptr<NamespaceHandle> ns;
};

absl::StatusOr<std::unique_ptr<OpenedDemoCase>> OpenDemoCase(const DemoCase& demo_case,
                                                             const std::string& address);

// What did not hold, in words; the demo fails where there is one.
class DemoFailures {
 public:
  // Notes `what` unless `holds`.
  void Expect(bool holds, const std::string& what);
  void ExpectOk(const absl::Status& status, const std::string& what);
  const std::vector<std::string>& list() const { return list_; }

 private:
  std::vector<std::string> list_;
};

// The hidden commands that the demo runs as processes.
Command DemoPrefillCommand();
Command DemoDecodeCommand();

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_CTL_DEMO_CASE_H_
