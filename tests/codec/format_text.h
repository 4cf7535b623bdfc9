// codec/FORMAT.md read as data: the code blocks that its comments name, for the tests that hold it against
// the code.
#ifndef KVCOMPD_TESTS_CODEC_FORMAT_TEXT_H_
#define KVCOMPD_TESTS_CODEC_FORMAT_TEXT_H_

#include <string>
#include <vector>

namespace kvcompd::testing {

std::string FormatText();
// The lines of the code block after "<!-- COMMENT", without empty ones and without what follows a #. A test
// that names no such block fails.
std::vector<std::string> FormatLines(const std::string& comment);
// The same as one run of hexadecimal digits.
std::string FormatHex(const std::string& comment);

}  // namespace kvcompd::testing

#endif  // KVCOMPD_TESTS_CODEC_FORMAT_TEXT_H_
