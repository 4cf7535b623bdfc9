#include "client/npy.h"

#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace kvcompd::client {
namespace {

std::string Npy(std::string header, std::string_view data, int major = 1) {
  header += '\n';
  std::string out("\x93NUMPY", 6);
  out += static_cast<char>(major);
  out += '\0';
  const auto bytes = static_cast<uint32_t>(header.size());
  out.append(reinterpret_cast<const char*>(&bytes), major == 1 ? 2 : 4);
  return out.append(header).append(data);
}

absl::StatusOr<NpyArray> Parse(std::string_view file) {
  return ParseNpy({reinterpret_cast<const std::byte*>(file.data()), file.size()});
}

constexpr char kShape23[] = "{'descr': '<u2', 'fortran_order': False, 'shape': (2, 3), }";

TEST(NpyTest, ReadsUint16) {
  const std::string data("\x01\x00\x02\x00\x03\x00\x04\x00\x05\x00\xff\x80", 12);
  for (int major : {1, 2}) {
    SCOPED_TRACE(major);
    const auto array = Parse(Npy(kShape23, data, major));
    ASSERT_TRUE(array.ok()) << array.status();
    EXPECT_EQ(array->type, NpyType::kUint16);
    EXPECT_EQ(array->shape, (std::vector<uint64_t>{2, 3}));
    EXPECT_EQ(array->elems(), 6u);
    ASSERT_EQ(array->bytes.size(), data.size());
    EXPECT_EQ(std::memcmp(array->bytes.data(), data.data(), data.size()), 0);
    EXPECT_EQ(array->Floats().status().code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST(NpyTest, ReadsFloat32) {
  const std::vector<float> values = {1.5f, -0.0f, 3e38f};
  const std::string_view data(reinterpret_cast<const char*>(values.data()), 12);
  const auto array = Parse(Npy("{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }", data));
  ASSERT_TRUE(array.ok()) << array.status();
  EXPECT_EQ(array->type, NpyType::kFloat32);
  const auto floats = array->Floats();
  ASSERT_TRUE(floats.ok());
  ASSERT_EQ(floats->size(), 3u);
  EXPECT_EQ(std::memcmp(floats->data(), values.data(), 12), 0);
}

TEST(NpyTest, ReadsHeadersInAnyOrderAndSpacing) {
  for (const char* header : {
           "{\"shape\":(1,2),\"descr\":\"<f2\",\"fortran_order\":False}",
           "  {  'fortran_order' : False , 'descr' : '<f2' , 'shape' : ( 1 , 2 , ) , }   ",
       }) {
    SCOPED_TRACE(header);
    const auto array = Parse(Npy(header, "abcd"));
    ASSERT_TRUE(array.ok()) << array.status();
    EXPECT_EQ(array->type, NpyType::kFloat16);
    EXPECT_EQ(array->shape, (std::vector<uint64_t>{1, 2}));
  }
}

TEST(NpyTest, ReadsScalarsAndEmptyArrays) {
  auto array = Parse(Npy("{'descr': '<u2', 'fortran_order': False, 'shape': ()}", "ab"));
  ASSERT_TRUE(array.ok()) << array.status();
  EXPECT_TRUE(array->shape.empty());
  EXPECT_EQ(array->elems(), 1u);
  array = Parse(Npy("{'descr': '<u2', 'fortran_order': False, 'shape': (0, 18446744073709551615)}", ""));
  ASSERT_TRUE(array.ok()) << array.status();
  EXPECT_EQ(array->elems(), 0u);
}

TEST(NpyTest, RejectsEveryTruncationAndOneByteMore) {
  const std::string whole = Npy(kShape23, "abcdefghijkl");
  ASSERT_TRUE(Parse(whole).ok());
  for (size_t n = 0; n < whole.size(); ++n) {
    // A copy of exactly n bytes, so that an address sanitizer sees any read behind it.
    const std::vector<char> cut(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(n));
    EXPECT_EQ(Parse({cut.data(), cut.size()}).status().code(), absl::StatusCode::kInvalidArgument) << n;
  }
  EXPECT_EQ(Parse(whole + "x").status().code(), absl::StatusCode::kInvalidArgument);
}

struct BadHeader {
  const char* text;
  absl::StatusCode code;
};

TEST(NpyTest, RejectsBadHeaders) {
  const auto kBad = absl::StatusCode::kInvalidArgument;
  const auto kLater = absl::StatusCode::kUnimplemented;
  const auto kBig = absl::StatusCode::kResourceExhausted;
  for (const BadHeader& bad : {
           BadHeader{"", kBad},
           BadHeader{"{}", kBad},
           BadHeader{"{'descr': '<u2', 'fortran_order': False}", kBad},
           BadHeader{"{'descr': '<u2', 'fortran_order': False, 'shape': (2, 3)", kBad},
           BadHeader{"{'descr': '<u2', 'fortran_order': False, 'shape': (2, 3)} x", kBad},
           BadHeader{"{'descr': '<u2', 'fortran_order': False, 'shape': 6}", kBad},
           BadHeader{"{'descr': '<u2', 'fortran_order': False, 'shape': (2 3)}", kBad},
           BadHeader{"{'descr': '<u2', 'fortran_order': False, 'shape': (-2, 3)}", kBad},
           BadHeader{"{'descr': '<u2', 'fortran_order': False, 'shape': (99999999999999999999,)}", kBad},
           BadHeader{"{'descr': '<u2', 'fortran_order': 0, 'shape': (2, 3)}", kBad},
           BadHeader{"{'descr': '<u2, 'fortran_order': False, 'shape': (2, 3)}", kBad},
           BadHeader{"{'descr': '<u2', 'descr': '<u2', 'fortran_order': False, 'shape': (2, 3)}", kBad},
           BadHeader{"{'descr': '<u2', 'fortran_order': False, 'shape': (2, 3), 'more': 'x'}", kBad},
           BadHeader{"{'descr': '<u2', 'fortran_order': False, 'shape': (2, 4)}", kBad},
           BadHeader{"{'descr': '>u2', 'fortran_order': False, 'shape': (2, 3)}", kLater},
           BadHeader{"{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3)}", kLater},
           BadHeader{"{'descr': '<u2', 'fortran_order': True, 'shape': (2, 3)}", kLater},
           BadHeader{"{'descr': '<u2', 'fortran_order': False, 'shape': (4294967296, 4294967296)}", kBig},
           BadHeader{"{'descr': '<u2', 'fortran_order': False, 'shape': (1, 1, 1, 1, 1, 1, 1, 2, 3)}", kBig},
       }) {
    EXPECT_EQ(Parse(Npy(bad.text, "abcdefghijkl")).status().code(), bad.code) << bad.text;
  }
  EXPECT_EQ(Parse(Npy(kShape23, "abcdefghijkl", 3)).status().code(), kLater);
  EXPECT_EQ(Parse(Npy(std::string(kNpyMaxHeaderBytes + 1, ' '), "", 2)).status().code(), kBig);
}

TEST(NpyTest, LoadsFilesAndNamesThemInErrors) {
  const std::string path = absl::StrCat(testing::TempDir(), "/array.npy");
  std::ofstream(path, std::ios::binary) << Npy(kShape23, "abcdefghijkl");
  const auto array = LoadNpy(path);
  ASSERT_TRUE(array.ok()) << array.status();
  EXPECT_EQ(array->elems(), 6u);

  EXPECT_EQ(ReadFileBytes(path, 10).status().code(), absl::StatusCode::kResourceExhausted);
  std::ofstream(path, std::ios::binary) << "no array";
  EXPECT_NE(LoadNpy(path).status().message().find(path), std::string::npos);
  std::remove(path.c_str());
  EXPECT_EQ(LoadNpy(path).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(LoadNpy(testing::TempDir()).status().ok(), false);
}

}  // namespace
}  // namespace kvcompd::client
