"""Sixty texts that are hard to cut: scripts, joiners, marks, characters that look like faults, the failure trailer.

What cannot be seen, or what an editor might normalize, is written as escapes.
"""

from __future__ import annotations

TEXTS = {
    # Scripts of two bytes a character.
    "Cyrillic": "Привет, мир! Ёж",
    "Greek": "Καλημέρα κόσμε",
    "polytonic Greek": "ἐν ἀρχῇ ἦν ὁ λόγος",
    "Armenian": "Բարև աշխարհ",
    "Hebrew": "שלום עולם",
    "Hebrew with points": "בְּרֵאשִׁית",
    "Arabic": "مرحبا بالعالم",
    "Arabic with marks": "بِسْمِ ٱللَّٰهِ",
    "Syriac": "ܫܠܡܐ ܥܠܡܐ",
    "Thaana": "އައްސަލާމު",
    "N'Ko": "ߒߞߏ ߛߓߍ",
    "Latin with accents": "Žluťoučký kůň, ça va, łódź",
    # Three.
    "Devanagari": "नमस्ते दुनिया",
    "Bengali": "হ্যালো বিশ্ব",
    "Tamil": "வணக்கம் உலகம்",
    "Malayalam": "ഹലോ ലോകം",
    "Sinhala": "ආයුබෝවන්",
    "Thai": "สวัสดีชาวโลก",
    "Lao": "ສະບາຍດີ",
    "Khmer": "សួស្តី\u200bពិភពលោក",
    "Myanmar": "မင်္ဂလာပါ",
    "Tibetan": "བཀྲ་ཤིས་བདེ་ལེགས",
    "Georgian": "გამარჯობა",
    "Ethiopic": "ሰላም ልዑል",
    "Cherokee": "ᎣᏏᏲ ᎡᎶᎯ",
    "Mongolian": "ᠰᠠᠶᠢᠨ ᠤᠤ",
    "Chinese": "你好，世界！",
    "Japanese": "こんにちは、世界のネコ",
    "half-width Japanese": "\uff8a\uff9b\uff70\uff9c\uff70\uff99\uff84\uff9e",
    "Korean": "안녕, 세상아",
    "Korean in jamo": "\u1112\u1161\u11ab\u1100\u1173\u11af",
    # Four.
    "Cuneiform": "𒀭𒈹𒂗𒆤",
    "Gothic": "𐌷𐌰𐌹𐌻𐍃",
    "Egyptian": "𓂀𓆣𓋹",
    "Deseret": "𐐔𐐯𐑅𐐨𐑉𐐯𐐻",
    "rare Chinese": "𠮷野家で𩸽",
    "mathematics": "𝔘𝔫𝔦 ∀x∈ℝ",
    # What is joined of several characters.
    "a family": "👨‍👩‍👧‍👦!",
    "skin tones": "👍🏽👩🏿‍🚀",
    "flags": "🇩🇪🇯🇵🏴󠁧󠁢󠁳󠁣󠁴󠁿",
    "a rainbow flag": "🏳️‍🌈 ok",
    "keycaps": "1️⃣ #️⃣ *️⃣",
    "joiners and non-joiners": "می\u200cخواهم क्\u200dष",
    # Marks.
    "Zalgo": "Z\u0351\u036b\u0343\u0321a\u0300\u0355\u0489l\u0357\u033f",
    "decomposed Vietnamese": "Vie\u0323\u0302t Nam, ngu\u031bo\u031b\u0300i",
    "a mark at the start": "\u0301e a\u030a",
    # Characters that look like faults, and stand for themselves.
    "a byte order mark at the start": "\ufeffda",
    "byte order marks inside": "a\ufeff\ufeffb\ufeff",
    "nulls and escapes": "\x00a\x00\x1b[31m\x7f\x85",
    "replacement characters": "\ufffda\ufffd\ufffd",
    "no characters": "\ufffe\uffff\ufdd0\U0001fffe",
    "the first and last of each length": "\x7f\x80\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff",
    "ends of lines": "a\r\nb\rc\n\u2028d\u2029\r\n",
    "directions overridden": "\u202eabc\u202c\u2066d\u2069\u200f",
    # What the trailer is made of.
    "the trailer": "Internal server error",
    "the trailer at the end": "Это Internal server error",
    "the trailer at the start": "Internal server error \u2014 да",
    "the trailer begun again": "Internal Internal server error",
    "two trailers": "Internal server errorInternal server error",
    "a beginning of it after a character": "жInternal serv",
}
