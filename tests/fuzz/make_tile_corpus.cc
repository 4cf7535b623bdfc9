// Writes the seeds of codebook_fuzz and tile_fuzz:
//
//   bazel run //tests/fuzz:make_tile_corpus -- "$PWD/tests/fuzz/corpus"
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "codec/codebook.h"
#include "codec/codec.h"
#include "tests/codec/group_coding.h"
#include "tests/codec/kv_samples.h"

namespace kvcompd::codec {
namespace {

bool Write(const std::filesystem::path& file, const std::string& bytes) {
  std::filesystem::create_directories(file.parent_path());
  std::ofstream out(file, std::ios::binary);
  out << bytes;
  return out.good();
}

bool WriteCodebooks(const std::filesystem::path& folder) {
  const Profile small = Profile::Parse("kvcomp:rel_k=0.5,rel_v=0.25").value();
  CodebookTrainer trainer(Sha256("model"), small);
  const std::vector<uint32_t> counts = {1, 9, 30, 8, 2};
  trainer.Add(3, Tensor::kK, counts);
  const auto trained = trainer.Build();
  return Write(folder / "built_in.bin", CodebookSet::BuiltIn(small)->canonical_bytes()) &&
         Write(folder / "default.bin",
               CodebookSet::BuiltIn(Profile::Parse("kvcomp").value())->canonical_bytes()) &&
         Write(folder / "trained.bin", trained->canonical_bytes()) &&
         Write(folder / "rans.bin",
               CodebookSet::BuiltIn(Profile::Parse("kvcomp:rel_k=0.5,rel_v=0.25,coder=rans").value())
                   ->canonical_bytes()) &&
         Write(folder / "raw.bin", CodebookSet::BuiltIn(Profile::Parse("raw").value())->canonical_bytes()) &&
         Write(folder / "empty.bin", "");
}

// The eight bytes that tile_fuzz.cc reads before header and payload.
bool WriteTile(const std::filesystem::path& file, DType dtype, Tensor tensor, KUnit unit, bool two_values,
               Coder coder = Coder::kHuffman) {
  const GroupShape shape{dtype, tensor, 1, 40, 16};
  const Profile profile{
      .codec = CodecId::kKvcomp, .rel_k = 0.05, .rel_v = 0.05, .k_unit = unit, .coder = coder};
  std::string values = kvcompd::testing::SyntheticKv(dtype, tensor, 1, 40, 16, 1);
  if (two_values) {
    std::vector<float> two(values.size() / ElementBytes(dtype));
    for (size_t i = 0; i < two.size(); ++i) two[i] = i % 3 == 0 ? 1.0f : -1.0f;
    values = kvcompd::testing::ToBytes(dtype, two);
  }
  const auto group =
      kvcompd::testing::EncodeGroup(*FindCodec(CodecId::kKvcomp), shape, values, {.profile = profile});
  if (!group.ok()) return false;
  const int choice[] = {coder == Coder::kRans ? 0x41 : 1,
                        (static_cast<int>(dtype) - 1) + (tensor == Tensor::kV ? 0x80 + 2 : 0),
                        0,
                        39,
                        8,
                        static_cast<int>(group->modes[0]),
                        static_cast<int>(group->header.size() / 2),
                        unit == KUnit::kChannel ? 0x42 : 0x02};
  std::string bytes;
  for (const int c : choice) bytes.push_back(static_cast<char>(c));
  return Write(file, bytes + group->header + group->payloads[0]);
}

bool WriteTiles(const std::filesystem::path& folder) {
  const std::string values = kvcompd::testing::SyntheticKv(DType::kBf16, Tensor::kV, 1, 32, 16, 2);
  return WriteTile(folder / "block.bin", DType::kBf16, Tensor::kK, KUnit::kBlock, false) &&
         WriteTile(folder / "channel.bin", DType::kBf16, Tensor::kK, KUnit::kChannel, false) &&
         WriteTile(folder / "token.bin", DType::kFp16, Tensor::kV, KUnit::kBlock, false) &&
         WriteTile(folder / "rans.bin", DType::kBf16, Tensor::kK, KUnit::kBlock, false, Coder::kRans) &&
         WriteTile(folder / "rans_channel.bin", DType::kFp16, Tensor::kK, KUnit::kChannel, false,
                   Coder::kRans) &&
         WriteTile(folder / "rans_token.bin", DType::kBf16, Tensor::kV, KUnit::kBlock, false, Coder::kRans) &&
         WriteTile(folder / "fp8.bin", DType::kFp8E4m3, Tensor::kK, KUnit::kBlock, false) &&
         WriteTile(folder / "packed.bin", DType::kFp16, Tensor::kK, KUnit::kBlock, true) &&
         WriteTile(folder / "packed_channel.bin", DType::kBf16, Tensor::kK, KUnit::kChannel, true) &&
         // Round trips of mostly zeros: 576 channels of bf16 V, and a trained book.
         Write(folder / "channels_576.bin", std::string("\x01\x80\x81\x01\xff\x02\x02\x02", 8) + values) &&
         Write(folder / "trained_book.bin", std::string("\x81\x00\x00\x1f\x08\x01\x02\x03", 8) + values) &&
         Write(folder / "strict.bin", std::string("\x01\x01\x00\x1f\x08\x02\x02\x83", 8) + values) &&
         Write(folder / "empty.bin", "");
}

}  // namespace
}  // namespace kvcompd::codec

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: make_tile_corpus FOLDER\n");
    return 2;
  }
  const std::filesystem::path folder = argv[1];
  const bool ok = kvcompd::codec::WriteCodebooks(folder / "codebook_fuzz") &&
                  kvcompd::codec::WriteTiles(folder / "tile_fuzz");
  return ok ? 0 : 1;
}
