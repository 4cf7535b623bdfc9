// The domain's reasons are those of the wire contract, by number and name.
#include "server/store/reason.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <string>

#include "proto/kvcompd/v1/types.pb.h"

namespace kvcompd::server {
namespace {

TEST(ReasonTest, NumbersAndNamesAreThoseOfTheContract) {
  const auto* contract = v1::Reason_descriptor();
  ASSERT_EQ(contract->value_count(), static_cast<int>(Reason::kUnsupported) + 1);
  for (int i = 0; i < contract->value_count(); ++i) {
    std::string name = contract->value(i)->name().substr(std::string("REASON_").size());
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
    if (name == "unspecified") name = "none";
    EXPECT_EQ(ReasonName(static_cast<Reason>(contract->value(i)->number())), name);
  }
  EXPECT_EQ(ReasonName(static_cast<Reason>(999)), "unknown");
}

}  // namespace
}  // namespace kvcompd::server
