# SPDX-License-Identifier: Apache-2.0
# Accuracy by subject, with 95 % intervals, of what `gemma4 eval --out OUT` left:
#   gnuplot -e "dir='OUT/MODEL'; out='F.svg'" notebooks_data/plots/eval_subjects.gp
if (!exists("out")) out = 'eval_subjects.svg'
# name, first metric, Wilson's interval (of a group, by its standard error): of each row of the last
# results_*.json
rows = sprintf("< ls '%s'/results_*.json | tail -n 1 | xargs -d '\\n' awk '", dir) \
    . "/^  \"[a-z]/ { part = $1 } " \
    . "/^    \"/ { split($0, a, \"\\\"\"); name = a[2] } part ~ /\"n-samples\"/ { " \
    . "if ($1 ~ /effective/) n[name] = $2 + 0 } part !~ /\"results\"/ { next } " \
    . "/^      \"(acc|exact_match),/ && !(name in v) { v[name] = $2 + 0; at[++all] = name } " \
    . "/^      \"(acc|exact_match)_stderr,/ && !(name in e) { e[name] = $2 + 0 } " \
    . "END { for (i = 1; i <= all; i++) { k = at[i]; y = v[k]; if (!(k in n)) n[k] = e[k] > 0 ? " \
    . "y * (1 - y) / e[k] / e[k] : 1; z = 3.8416 / n[k]; h = sqrt(z * y * (1 - y) + z * z / 4); " \
    . "print k, y, (y + z / 2 - h) / (1 + z), (y + z / 2 + h) / (1 + z) } }'"
stats rows using 2 name 'R' nooutput
set terminal svg size 760,(120 + 22 * R_records) font 'sans,13' background rgb 'white' noenhanced
set output out
set title 'Accuracy, 95 % intervals'
set yrange [R_records - 0.3:-0.7]
set xrange [0:1]
set grid xtics lc rgb '#dddddd' lw 0.7
set tics nomirror out
unset key
plot rows using 2:0:3:4:ytic(1) with xerrorbars pt 7 ps 0.6 lw 1.4 \
     lc rgb '#0072b2'
