# SPDX-License-Identifier: Apache-2.0
# Reliability diagram of a multiple-choice task, of what `gemma4 eval --out OUT` left: how often
# answers of a given confidence (softmax over the choices' log-likelihoods) are right, and the
# expected calibration error, the mean distance of the two in tenths of confidence.
#   gnuplot -e "dir='OUT/MODEL'; out='F.svg'" notebooks_data/plots/eval_calibration.gp
if (!exists("out")) out = 'eval_calibration.svg'
# a tenth's confidence, share of right answers, Wilson's interval, answers; last: ECE, all answers
wilson = "function wilson(y, n,  z) { z = 3.8416 / n; return " \
    . "(y + z / 2 - sqrt(z * y * (1 - y) + z * z / 4)) / (1 + z) \" \" " \
    . "(y + z / 2 + sqrt(z * y * (1 - y) + z * z / 4)) / (1 + z) } "
read = sprintf("cat '%s'/samples_*.jsonl | awk '", dir) . wilson \
    . "{ i = index($0, \"\\\"filtered_resps\\\": [[\"); if (!i) next; s = substr($0, i + 20); " \
    . "j = index(s, \"]], \\\"filter\\\"\"); if (!j) next; n = split(substr(s, 1, j), a, \"\\\"\"); " \
    . "if (!match(substr(s, j), /\"acc\": [01]/)) next; " \
    . "right = substr(substr(s, j), RSTART + 7, 1); most = a[2]; sum = 0; " \
    . "for (k = 2; k <= n; k += 4) if (a[k] + 0 > most + 0) most = a[k]; " \
    . "for (k = 2; k <= n; k += 4) sum += exp(a[k] - most); " \
    . "b = int(10 / sum); if (b > 9) b = 9; c[b]++; p[b] += 1 / sum; r[b] += right; all++ } " \
    . "END { for (b = 0; b < 10; b++) if (c[b]) { x = p[b] / c[b]; y = r[b] / c[b]; " \
    . "e += c[b] * (x > y ? x - y : y - x); print x, y, wilson(y, c[b]), c[b] } " \
    . "print \"ECE\", all ? e / all : 0, all + 0 }'"
last = system(read . " | tail -n 1")
set terminal svg size 620,560 font 'sans,13' background rgb 'white' noenhanced
set output out
set title sprintf('%s answers, expected calibration error %.3f', word(last, 3), word(last, 2) + 0)
set xlabel 'confidence'
set ylabel 'share of right answers'
set xrange [0:1]
set yrange [0:1]
set grid lc rgb '#dddddd' lw 0.7
set tics nomirror out
set key bottom right Left reverse samplen 2
plot x with lines dt 2 lc rgb '#888888' title 'calibrated', \
     "< " . read . " | grep -v ECE" using 1:2:3:4 with yerrorbars pt 7 lw 1.4 \
     lc rgb '#0072b2' title '95 % intervals, how many answers', \
     "< " . read . " | grep -v ECE" using 1:2:(sprintf('%d', $5)) with labels offset 2,0.5 \
     font ',10' notitle
