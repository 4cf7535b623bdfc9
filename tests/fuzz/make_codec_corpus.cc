// Writes the seeds of the codecs' fuzz targets: a tile of every profile of the suites, K and V.
//
//   bazel run //tests/fuzz:make_codec_corpus -- "$PWD/tests/fuzz/corpus"
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "codec/base/profile.h"
#include "codec/codec.h"
#include "tests/codec/codec_profiles.h"
#include "tests/codec/group_coding.h"
#include "tests/codec/kv_samples.h"

namespace kvcompd::codec {
namespace {

// The six bytes that codec_fuzz.cc reads before header and payload, for profile number `number` of its codec.
bool WriteTile(const std::filesystem::path& folder, const Profile& profile, int number, DType dtype,
               Tensor tensor) {
  const GroupShape shape{dtype, tensor, 1, 40, 16};
  const std::string values = kvcompd::testing::SyntheticKv(dtype, tensor, 1, 40, 16, 1);
  const auto group =
      kvcompd::testing::EncodeGroup(*FindCodec(profile.codec), shape, values, {.profile = profile});
  if (!group.ok()) return false;
  const int choice[] = {number,
                        (static_cast<int>(dtype) - 1) + (tensor == Tensor::kV ? 0x80 + 2 : 0),
                        39,
                        8,
                        static_cast<int>(group->modes[0]),
                        static_cast<int>(group->header.size() / 2)};
  std::string bytes;
  for (const int c : choice) bytes.push_back(static_cast<char>(c));
  bytes += group->header + group->payloads[0];
  const std::string name =
      absl::StrCat(number, "_", static_cast<int>(dtype), tensor == Tensor::kV ? "_v" : "_k", ".bin");
  std::filesystem::create_directories(folder);
  std::ofstream out(folder / name, std::ios::binary);
  out << bytes;
  return out.good();
}

}  // namespace
}  // namespace kvcompd::codec

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: make_codec_corpus FOLDER\n");
    return 2;
  }
  std::map<kvcompd::CodecId, int> numbers;
  bool ok = true;
  for (const char* text : kvcompd::testing::kSuiteProfiles) {
    const kvcompd::Profile profile = kvcompd::Profile::Parse(text).value();
    const int number = numbers[profile.codec]++;
    const std::filesystem::path folder =
        std::filesystem::path(argv[1]) / (std::string(kvcompd::CodecName(profile.codec)) + "_fuzz");
    for (const kvcompd::DType dtype : {kvcompd::DType::kBf16, kvcompd::DType::kFp8E4m3}) {
      for (const kvcompd::Tensor tensor : {kvcompd::Tensor::kK, kvcompd::Tensor::kV}) {
        ok = ok && kvcompd::codec::WriteTile(folder, profile, number, dtype, tensor);
      }
    }
  }
  return ok ? 0 : 1;
}
