// Writes the golden blocks of the current format version to the directory in argv[1].
#include <cstdio>
#include <fstream>

#include "tests/golden/golden_blocks.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s DIRECTORY\n", argv[0]);
    return 2;
  }
  for (const auto& block : kvcompd::codec::CurrentGoldenBlocks()) {
    std::ofstream file(std::string(argv[1]) + "/" + block.file, std::ios::binary);
    file << kvcompd::codec::GoldenText(block);
    if (!file.flush()) {
      std::fprintf(stderr, "cannot write %s\n", block.file.c_str());
      return 1;
    }
  }
  return 0;
}
