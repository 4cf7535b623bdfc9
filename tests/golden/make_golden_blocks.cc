// Writes the golden blocks of the current format version, and the table of their sizes, to the directory in
// argv[1]. Fails where a block does not show what it is there for.
#include <algorithm>
#include <cstdio>
#include <fstream>

#include "absl/strings/str_join.h"
#include "tests/golden/golden_blocks.h"

namespace {

bool Write(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  if (file.flush()) return true;
  std::fprintf(stderr, "cannot write %s\n", path.c_str());
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s DIRECTORY\n", argv[0]);
    return 2;
  }
  const std::string directory = std::string(argv[1]) + "/";
  const auto blocks = kvcompd::codec::CurrentGoldenBlocks();
  bool ok = Write(directory + "sizes.txt", kvcompd::codec::GoldenSizes(blocks));
  for (const auto& block : blocks) {
    const auto found = kvcompd::codec::CoverageOf(block.container);
    if (!std::includes(found.begin(), found.end(), block.covers.begin(), block.covers.end())) {
      std::fprintf(stderr, "%s covers %s, not all of %s\n", block.file.c_str(),
                   absl::StrJoin(found, ", ").c_str(), absl::StrJoin(block.covers, ", ").c_str());
      ok = false;
    }
    ok = Write(directory + block.file, kvcompd::codec::GoldenText(block)) && ok;
  }
  return ok ? 0 : 1;
}
