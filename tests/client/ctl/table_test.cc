#include "client/ctl/table.h"

#include <limits>
#include <sstream>

#include "gtest/gtest.h"

namespace kvcompd::client {
namespace {

TEST(TextTableTest, AlignsColumns) {
  TextTable table({"name", ">bytes", "note"});
  table.AddRow({"a", "7", "x"});
  table.AddRow({"longer", "1234567"});
  table.AddRow({"µ", "0", "y", "dropped"});
  std::ostringstream out;
  table.Print(out);
  EXPECT_EQ(out.str(),
            "name      bytes  note\n"
            "------  -------  ----\n"
            "a             7  x\n"
            "longer  1234567\n"
            "µ             0  y\n");
}

TEST(TextTableTest, OneObjectOfJsonWhateverTheBytes) {
  std::ostringstream out;
  PrintJson({{"z", "bad \xff byte"}, {"a", std::numeric_limits<double>::quiet_NaN()}}, out);
  const Json back = Json::parse(out.str(), nullptr, /*allow_exceptions=*/false);
  ASSERT_TRUE(back.is_object()) << out.str();
  EXPECT_TRUE(back["a"].is_null());
  EXPECT_EQ(back.begin().key(), "z");  // the order in which they were set
}

TEST(TextTableTest, RatiosAndSpeeds) {
  EXPECT_EQ(RatioText(10, 4), "2.50x");
  EXPECT_EQ(RatioText(10, 0), "-");
  EXPECT_EQ(GigabytesPerSecondText(3e9, 2), "1.500");
  EXPECT_EQ(GigabytesPerSecondText(3e9, 0), "-");
}

}  // namespace
}  // namespace kvcompd::client
