# SPDX-License-Identifier: Apache-2.0
# Accuracy against tokens of thinking, of what `gemma4 eval --thinking on --out OUT` left; answers
# in octaves of the thought's length, those without a thought at 1.
#   gnuplot -e "top='OUT'; dir='OUT/MODEL'; out='F.svg'" notebooks_data/plots/eval_thinking.gp
if (!exists("out")) out = 'eval_thinking.svg'
# mean length, share of right answers, Wilson's interval, answers; of two filters the last counts
wilson = "function wilson(y, n,  z) { z = 3.8416 / n; return " \
    . "(y + z / 2 - sqrt(z * y * (1 - y) + z * z / 4)) / (1 + z) \" \" " \
    . "(y + z / 2 + sqrt(z * y * (1 - y) + z * z / 4)) / (1 + z) } "
rows = "< awk '" . wilson \
    . "function number(key) { return match($0, key \" ?-?[0-9.]+\") ? " \
    . "substr($0, RSTART + length(key), RLENGTH - length(key)) + 0 : 0 } " \
    . "/^{\"sum\"/ { if (match($0, /\"task\":\"[^\"]*\",\"doc\"/)) { " \
    . "f = substr($0, RSTART + 8, RLENGTH - 15); " \
    . "t[f, number(\"\\\"doc\\\":\")] = number(\"\\\"thought\\\":\") } } " \
    . "/^{\"doc_id\"/ { f = FILENAME; sub(/.*\\/samples_/, \"\", f); " \
    . "sub(/_[0-9][0-9][0-9][0-9]-[^_]*$/, \"\", f); " \
    . "if (match($0, /\"exact_match\": [01][^{}]*}$/)) { v = substr($0, RSTART + 15, 1); " \
    . "s[f, number(\"\\\"doc_id\\\":\")] = v } } " \
    . "END { for (d in s) { x = t[d] > 1 ? t[d] : 1; b = int(log(x) / log(2)); n[b]++; m[b] += x; " \
    . "r[b] += s[d] } for (b = 0; b < 32; b++) if (n[b]) { y = r[b] / n[b]; " \
    . "print m[b] / n[b], y, wilson(y, n[b]), n[b] } }' " \
    . sprintf("'%s'/journal_*.jsonl '%s'/samples_*.jsonl", top, dir)
set terminal svg size 760,480 font 'sans,13' background rgb 'white' noenhanced
set output out
set title 'Accuracy against tokens of thinking, 95 % intervals, how many answers'
set xlabel 'tokens of thinking (mean of an octave)'
set ylabel 'share of right answers'
set logscale x 2
set xrange [0.7:*]
set yrange [0:1]
set grid lc rgb '#dddddd' lw 0.7
set tics nomirror out
unset key
plot rows using 1:2:3:4 with yerrorbars pt 7 lw 1.4 lc rgb '#0072b2', \
     rows using 1:2:(sprintf('%d', $5)) with labels offset 2.5,0.6 font ',11'
